"""The documentation holds: what is generated is what the tables say now, and no link leads nowhere."""

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from eyas.arch.tables import ARCHS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
FAMILIES = ("MobileNetV1", "MobileNetV2", "MobileNetV3", "MnasNet", "EfficientNet-B", "EfficientNet-Lite", "ResNet")


def check(docs: Path) -> subprocess.CompletedProcess[str]:
    """`architectures.py --check` of a folder of documents."""
    return subprocess.run([sys.executable, docs / "architectures.py", "--check"], capture_output=True, text=True)


def test_the_generated_page_and_figures_are_what_the_tables_say_now() -> None:
    found = check(DOCS)
    assert (found.returncode, found.stderr) == (0, "")


def test_a_stale_file_and_a_missing_one_are_found_and_left_alone(tmp_path: Path) -> None:
    for file in DOCS.glob("*.py"):
        shutil.copy(file, tmp_path)
    shutil.copy(DOCS / "tradeoff.svg", tmp_path)
    stale = (DOCS / "architectures.md").read_text().replace("569 M", "570 M")
    (tmp_path / "architectures.md").write_text(stale)
    found = check(tmp_path)
    assert found.returncode == 1
    assert found.stderr == "stale: architectures.md, tradeoff-parameters.svg; run python docs/architectures.py\n"
    assert (tmp_path / "architectures.md").read_text() == stale


def test_every_architecture_has_its_row() -> None:
    page = (DOCS / "architectures.md").read_text()
    rows = re.findall(r"^\| (\w+) \[\d+\] \| (\d+) \|", page, re.MULTILINE)
    assert dict(rows) == {name: str(arch.resolution) for name, arch in ARCHS.items()}


@pytest.mark.parametrize("name", ["tradeoff.svg", "tradeoff-parameters.svg"])
def test_the_figures_name_every_family(name: str) -> None:
    drawn = ["".join(element.itertext()) for element in ET.parse(DOCS / name).iter() if element.tag.endswith("}text")]
    assert [family for family in FAMILIES if not any(label.startswith(family) for label in drawn)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)", page.read_text())
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_page_is_in_the_menu() -> None:
    menu = re.findall(r"^  - .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(menu) == sorted(page.name for page in DOCS.glob("*.md"))
