"""Environments of packages that the tests make themselves: nothing is fetched from anywhere."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from eyas.deploy.environment import Environment
from eyas.errors import UserError
from eyas.progress import listening


class Heard:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.begun: list[str] = []
        self.notes: list[str] = []

    def begin(self, label: str, _: int | None) -> None:
        self.begun.append(label)

    def advance(self, _label: str, _done: int, note: str) -> None:
        self.notes.append(note)

    def end(self, label: str) -> None:
        pass

    def say(self, text: str) -> None:
        self.said.append(text)


def wheel(folder: Path, name: str, version: str) -> None:
    """A package of one module that says its version."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """pip finds these packages and no others."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for version in ("1.0", "2.0"):
        wheel(folder, "pebble", version)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("EYAS_ENVIRONMENTS", str(tmp_path / "environments"))
    return folder


PEBBLE = Environment(name="pebble", title="the pebble", wanted=("pebble",), pins="pebble==1.0\n")


def script(folder: Path, text: str) -> Path:
    path = folder / "script.py"
    path.write_text(text)
    return path


@pytest.mark.usefixtures("shelf")
def test_it_is_made_once_with_the_pinned_versions_and_used_again_and_a_script_that_fails_in_it_is_a_sentence(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "of the user"))
    heard, answer = Heard(), tmp_path / "answer"
    asks = script(tmp_path, f"import pebble, sys; open({str(answer)!r}, 'w').write(pebble.VERSION + ' '.join(sys.path))")
    with listening(heard):
        PEBBLE.run(asks, [], "asking")
        made = (PEBBLE.folder / "pyvenv.cfg").stat().st_mtime_ns
        PEBBLE.run(asks, [], "asking")
    assert answer.read_text().startswith("1.0")
    assert "of the user" not in answer.read_text()
    assert heard.begun == ["installing the pebble"]
    assert len(heard.said) == 1
    assert "once" in heard.said[0]
    assert (PEBBLE.folder / "pyvenv.cfg").stat().st_mtime_ns == made
    assert sorted(path.name for path in PEBBLE.folder.parent.iterdir()) == [PEBBLE.folder.name, f"{PEBBLE.folder.name}.lock"]

    fails = script(tmp_path, "print('on the way'); raise ValueError('no such stone')")
    with pytest.raises(
        UserError, match="throwing failed in the pebble: ValueError: no such stone; all it said is in "
    ) as raised:
        PEBBLE.run(fails, [], "throwing")
    assert "on the way" in Path(str(raised.value).split("all it said is in ")[1]).read_text()


@pytest.mark.usefixtures("shelf")
def test_other_pins_are_another_environment():
    other = Environment(name="pebble", title="the pebble", wanted=("pebble",), pins="pebble==2.0\n")
    assert other.folder != PEBBLE.folder
    assert other.folder.parent == PEBBLE.folder.parent
    assert f"py{sys.version_info.major}.{sys.version_info.minor}" in other.folder.name


@pytest.mark.usefixtures("shelf")
def test_what_cannot_be_installed_is_a_sentence_with_the_log_and_no_environment():
    lacking = Environment(name="lacking", title="the boulder", wanted=("boulder",), pins="")
    with pytest.raises(UserError, match=r"the boulder could not be installed: .*boulder.* the log is ") as raised:
        lacking.python()
    log = Path(str(raised.value).split("the log is ")[1].split(";")[0])
    assert "boulder" in log.read_text()
    assert "\n" not in str(raised.value)
    assert not lacking.folder.exists()


@pytest.mark.usefixtures("shelf")
def test_of_two_that_want_it_at_once_the_second_waits_and_what_a_killed_one_left_is_made_anew():
    half = PEBBLE.folder.with_name(PEBBLE.folder.name + ".partial")
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").symlink_to("/nowhere")
    PEBBLE.folder.mkdir()  # an environment whose Python is gone
    text = (
        "import sys; from eyas.progress import listening\n"
        "sys.path.insert(0, sys.argv[1]); from test_environment import PEBBLE, Heard\n"
        "heard = Heard()\n"
        "with listening(heard): PEBBLE.python()\n"
        "print(len(heard.begun), *heard.said)"
    )
    command = [sys.executable, "-c", text, str(Path(__file__).parent)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert sorted(line[0] for line in said) == ["0", "1"]
    assert [process.returncode for process in both] == [0, 0]
    assert not half.exists()
    assert subprocess.run([PEBBLE.python(), "-c", "import pebble"], check=False).returncode == 0


@pytest.mark.usefixtures("shelf")
def test_a_folder_that_cannot_be_written_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EYAS_ENVIRONMENTS", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot install the pebble in .*file.*EYAS_ENVIRONMENTS"):
        PEBBLE.python()


def test_environments_lie_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("EYAS_ENVIRONMENTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert PEBBLE.folder.parent == tmp_path / "eyas" / "environments"
