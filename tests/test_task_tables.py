"""What MobileNets' Tables 12 and 14 print of networks with other heads, held against what any head could give.

The rows themselves are in facts.json, and compared in test_papers.py. Here is why the rest cannot be reproduced.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.arch.spec import layers
from tests.test_papers import FACTS

DOCS = Path(__file__).parents[1] / "docs"
VECTOR = 128  # length of an embedding, in FaceNet and here


def rows(table: str) -> dict[str, dict[str, Any]]:
    """The printed rows of a table by architecture."""
    columns = FACTS[table]["columns"]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in FACTS[table]["rows"] if row[0]}


def body(arch: str) -> tuple[float, float]:
    """MAdds and weights in millions, without a head."""
    found = cost(parse(arch), 0)
    return found.madds / 1e6, found.weights / 1e6


class TestTable12:
    ROWS = rows("mobilenet_table12")

    def test_no_head_explains_the_narrowest_students(self) -> None:
        # A head costs the same at both resolutions. Whether 45 is rounded or cut off, it is from 44.5 to below 46.
        large, small = (self.ROWS[name]["madds M"] for name in ("mobilenet_v1x0.25", "mobilenet_v1x0.25@128"))
        least = large - 0.5 - body("mobilenet_v1x0.25")[0]
        most = small + 1 - body("mobilenet_v1x0.25@128")[0]
        assert least == pytest.approx(3.7, abs=0.05)
        assert most == pytest.approx(2.7, abs=0.05)
        assert least > most

    def test_a_least_number_of_16_channels_would_change_no_other_row(self) -> None:
        narrowest = {name: min(layer.outputs for _, layer in layers(parse(name), 0)) for name in self.ROWS}
        assert [name for name, least in narrowest.items() if least < 16] == ["mobilenet_v1x0.25", "mobilenet_v1x0.25@128"]


class TestTable14:
    ROWS = rows("mobilenet_table14")

    def test_the_largest_is_printed_with_less_than_its_body(self) -> None:
        assert self.ROWS["mobilenet_v1@160"]["madds M"] + 1 < body("mobilenet_v1@160")[0]

    @pytest.mark.parametrize("width", ["mobilenet_v1", "mobilenet_v1x0.75"])
    def test_no_head_has_more_weights_at_the_smaller_resolution(self, width: str) -> None:
        # Behind pooled features a layer has as many weights at both, behind the last map more at 160: 5x5 places, not 4x4.
        printed = {side: self.ROWS[f"{width}@{side}"]["params with head M"] for side in (160, 128)}
        assert body(f"{width}@160")[1] == body(f"{width}@128")[1]
        assert printed[128] - printed[160] > 0.1  # what rounding could make of equal ones

    def test_only_the_last_row_has_as_many_madds_as_weights_beyond_its_body(self) -> None:
        fits = []
        for name, row in self.ROWS.items():
            madds, weights = (
                printed - own for printed, own in zip((row["madds M"], row["params with head M"]), body(name), strict=True)
            )
            assert 1.55 < weights < 2.35
            if abs(madds - weights) < 1:  # cut off or rounded
                fits.append(name)
        assert fits == ["mobilenet_v1x0.75@128"]


PAGES = {"attributes.md": "mobilenet_table12", "embeddings.md": "mobilenet_table14"}


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_print_what_is_counted(page: str) -> None:
    found = re.findall(r"^\| ([\d.]+) MobileNet-(\d+) \| (.+) \|$", (DOCS / page).read_text(), re.MULTILINE)
    assert len(found) == len(rows(PAGES[page]))
    for (width, side, cells), (name, row) in zip(found, rows(PAGES[page]).items(), strict=True):
        arch = parse(f"mobilenet_v1x{width}@{side}")
        assert cost(arch, 0) == cost(parse(name), 0)
        madds, weights = body(name)
        expected = [f"{row['madds M']} M", f"{madds:.1f} M"]
        if page == "attributes.md":
            expected += [f"{row['weights M']} M", f"{weights:.2f} M"]
        else:
            whole = cost(arch, VECTOR)
            expected += [f"{whole.madds / 1e6:.1f} M", f"{row['params with head M']} M", f"{weights:.2f} M"]
            expected += [f"{whole.weights / 1e6:.2f} M"]
        assert cells.split(" | ") == expected
