"""A report is one page that loads nothing, says what it was given, and says it the same way every time."""

import base64
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from eyas.errors import UserError
from eyas.report import charts
from eyas.report.charts import Axis, Rule
from eyas.report.items import Figure, Gallery, Item, Number, Numbers, Section, Table, Text, Verdict
from eyas.report.page import Report

EVIL = "<script>alert('x')</script> & \"cracked\" | a*b_c"
SMALL = np.arange(28 * 20, dtype=np.uint16).astype(np.uint8).reshape(28, 20, 1)
LOADING = {"src", "srcset", "href", "xlink:href", "action", "formaction", "data", "poster", "background", "ping"}

CHARTS = {
    "lines": lambda name: charts.lines(
        "t", {name: [(1, 0.5), (2, 0.6)], "other": [(1, 0.4), (2, 0.5)]}, Axis("Step"), Axis("Loss")
    ),
    "histogram": lambda name: charts.histogram(
        "t", [0, 0.5, 1], {name: [1, 2], "other": [3, 0]}, Axis("Confidence", "%"), Axis("n")
    ),
    "intervals": lambda name: charts.intervals(
        "t", [(name, 0.9, 0.8, 0.95, ""), ("o", 0.8, None, None, "")], Axis("Accuracy", "%")
    ),
    "bars": lambda name: charts.bars("t", [(name, 3, "training"), (name, 1, "test")], Axis("Images")),
    "confusion": lambda name: charts.confusion("t", [[3, 1], [0, 2]], [name, "other"]),
    "scatter": lambda name: charts.scatter(
        "t", [(name, 1, 0.5, "fits"), ("b", 2, 0.7, "large")], Axis("MB"), Axis("y"), chosen=name
    ),
}


def report(*items: Item, facts: dict | None = None) -> Report:
    return Report("Title", "Subtitle", (Section("Section", items),), facts=facts or {})


def everything(text: str) -> Report:
    """A report with `text` wherever a user's words can stand."""
    table = Table(text, (text, "n"), ((text, 1), (None, 2)), text)
    gallery = Gallery(text, ((SMALL, text),), text)
    figure = charts.confusion(text, [[3, 1], [0, 2]], [text, "other"], text)
    words = (Text(f"{text}\n\n- {text}\n- `{text}`"), Verdict(text, "good"), Numbers((Number(text, text, text, "bad"),)))
    return Report(text, text, (Section(text, (*words, table, gallery, figure)),), lead=(Verdict(text),), facts={text: text})


class Page(HTMLParser):
    """What a browser would see: the tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br", "hr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # well nested

    def handle_data(self, data: str) -> None:
        if "svg" not in self.open:  # charts may cut long words short
            self.words += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def drawn(figure: Figure) -> str:
    """The words in a chart."""
    return " ".join(
        "".join(element.itertext()) for element in ET.fromstring(figure.svg).iter() if element.tag.endswith("}text")
    )


def test_words_of_the_user_never_become_markup() -> None:
    plain, evil = Page(everything("harmless").to_html()), Page(everything(EVIL).to_html())
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attributes) for _, attributes in evil.tags] == [sorted(attributes) for _, attributes in plain.tags]
    assert evil.words.count(EVIL) == plain.words.count("harmless") > 20
    assert not evil.open


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    figures = [draw("name") for draw in CHARTS.values()]
    whole = report(*everything("see https://example.org/a.png").sections[0].items, *figures)
    page = Page(whole.to_html())
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag} {name}>"
            if name in LOADING:
                assert (value or "").startswith(("#", "data:image/")), f"<{tag} {name}={value!r}>"
            assert not re.search(r"url\((?!#)", value or ""), f"<{tag} {name}={value!r}>"
    assert not {"script", "link", "iframe", "object", "embed", "base", "use", "image"} & {tag for tag, _ in page.tags}
    assert not re.search(r"@import|url\(", re.findall(r"<style>(.*?)</style>", whole.to_html(), re.DOTALL)[0])
    policies = [meta["content"] or "" for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]


def test_the_verdict_comes_before_the_contents_and_the_contents_lead_to_every_section() -> None:
    whole = Report("T", "", (Section("One", ()), Section("Two", ())), lead=(Verdict("It fits.", "good"),))
    page = Page(whole.to_html())
    assert whole.to_html().index("It fits.") < whole.to_html().index("<nav")
    assert [link["href"] for link in page.named("a")] == [f"#{section['id']}" for section in page.named("section")]
    assert len(page.named("section")) == 2


def test_a_reader_without_eyes_is_told_what_pictures_show() -> None:
    page = Page(report(Gallery("g", ((SMALL, "a crack"),)), CHARTS["bars"]("x")).to_html())
    assert [image["alt"] for image in page.named("img")] == ["a crack"]
    assert [part["aria-label"] for part in page.named("div") if part.get("role") == "img"] == ["Chart: t."]


def test_the_same_values_give_the_same_bytes() -> None:
    first, again = everything(EVIL), everything(EVIL)
    assert first.to_html() == again.to_html()
    assert first.to_markdown() == again.to_markdown()
    assert first.to_json() == again.to_json()


def test_text_has_paragraphs_lists_and_code_and_nothing_else() -> None:
    page = report(Text("one\nline\n\nFirst:\n- a\n- b `<code>`\nafter **all**")).to_html()
    assert "<p>one line</p>" in page
    assert "<p>First:</p>\n<ul><li>a</li><li>b <code>&lt;code&gt;</code></li></ul>\n<p>after **all**</p>" in page


def test_numbers_are_set_to_the_right_and_share_their_decimals() -> None:
    rows = (
        ("a", 1.66, "87.4 % (84.9–89.6)", 1200, "0.5 MobileNet-160"),
        ("b", 5.9, "9 %", None, "2"),
        ("c", float("nan"), "–", 7, "3"),
    )
    page = report(Table("t", ("name", "MB", "accuracy", "images", "words"), rows)).to_html()
    assert re.findall(r"<td class=\"n\">(.*?)</td>", page) == [
        *("1.66", "87.4 % (84.9–89.6)", "1,200"),
        *("5.90", "9 %", "–"),
        *("–", "–", "7"),
    ]


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ((0.875, 0.5), ["0.875", "0.500"]),
        ((568.74, 0.31), ["568.7", "0.3"]),
        ((1234567.8, 2.0), ["1,234,568", "2"]),
        ((0.081, 2.4e-6), ["0.081", "2.4e-06"]),
        ((0.0, -1.5), ["0.0", "-1.5"]),
        ((True, False), ["yes", "no"]),
    ],
)
def test_how_numbers_read(column: tuple[float, ...], shown: list[str]) -> None:
    page = report(Table("t", ("n",), tuple((cell,) for cell in column))).to_html()
    assert re.findall(r"<td[^>]*>(.*?)</td>", page) == shown


def test_a_table_with_a_missing_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 has 1 cells for 2 columns"):
        Table("t", ("a", "b"), ((1, 2), (1,)))


def test_markdown_tables_are_well_formed_whatever_the_cells_hold() -> None:
    text = report(Table("t", (EVIL, "n"), ((EVIL, 1), ("two\nlines", 2), (None, None)))).to_markdown()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert rows[1] == "| --- | ---: |"
    assert rows[3] == "| two lines | 2 |"


def test_markdown_shows_what_looks_like_markup_as_it_was_written() -> None:
    text = report(Text("# not a heading\n1. no list\n---\n- a `--flag_x` *star* &amp;"), Verdict("a_b <b>")).to_markdown()
    assert "\\# not a heading\n1\\. no list\n\\---\n\n- a `--flag_x` \\*star\\* \\&amp;" in text
    assert "> **a\\_b \\<b\\>**" in text
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# Title", "## Section"]


@pytest.mark.parametrize("evil", [EVIL, "# x", "2. x", "~~x~~ &lt; ![i](u)", "+ x", "[a]: http://b", "=== ---"])
def test_a_reader_of_markdown_shows_the_words_that_were_given(evil: str) -> None:
    whole = everything(evil)
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    page = Page(reader.render(whole.to_markdown()))
    plain = Page(reader.render(everything("harmless").to_markdown()))
    assert page.words.count(evil) == plain.words.count("harmless") > 15
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]


def test_json_keeps_facts_and_tables_and_is_strict() -> None:
    facts = {"accuracy": 0.8742, "interval": [0.85, 0.9], "nested": {"classes": ["a", EVIL], "none": None}, "right": True}
    table = Table("t", ("a", "b"), (("x", 1.5), ("y", float("inf"))))
    whole = report(table, Gallery("g", ((SMALL, "c"),)), Verdict("v", "bad"), facts=facts | {"gap": float("nan")})
    read = json.loads(json.dumps(whole.to_json(), allow_nan=False))
    assert read == whole.to_json()
    assert read["facts"] == facts | {"gap": None}
    assert read["sections"][0]["items"] == [
        {"kind": "table", "title": "t", "columns": ["a", "b"], "rows": [["x", 1.5], ["y", None]], "note": ""},
        {"kind": "gallery", "title": "g", "captions": ["c"], "note": ""},
        {"kind": "verdict", "sentence": "v", "tone": "bad"},
    ]


def test_save_writes_both_files_and_leaves_nothing_else(tmp_path) -> None:
    whole = everything(EVIL)
    assert whole.save(tmp_path) == tmp_path / "report.html"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "report.json"]
    assert (tmp_path / "report.html").read_text() == whole.to_html()
    assert json.loads((tmp_path / "report.json").read_text()) == whole.to_json()


def pixels(page: str) -> np.ndarray:
    source = Page(page).named("img")[0]["src"] or ""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


@pytest.mark.parametrize("channels", [1, 3])
def test_galleries_keep_the_pixels_of_small_images(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 31, channels), dtype=np.uint8)
    shown = pixels(report(Gallery("g", ((image, "c"),))).to_html())
    np.testing.assert_array_equal(shown, image[:, :, 0] if channels == 1 else image)


def test_galleries_shrink_large_images_and_keep_their_shape_and_look() -> None:
    slope = np.broadcast_to(np.linspace(0, 255, 1000, dtype=np.uint8)[None, :, None], (500, 1000, 3)).copy()
    page = report(Gallery("g", ((slope, "c"),))).to_html()
    shown = pixels(page)
    assert shown.shape == (128, 256, 3)
    assert np.abs(shown[64, :, 0] - np.linspace(0, 255, 256)).max() < 4
    assert len(page) < 30_000


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_charts_name_what_they_show(draw) -> None:
    assert "a & <b>" in drawn(draw("a & <b>"))


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_charts_can_stand_in_one_page(draw) -> None:
    first, again = draw("name"), draw("name")
    assert first == again
    assert "id=" not in first.svg  # ids of two charts would clash
    assert set(re.findall(r'font-family="([^"]*)"', first.svg)) == {"Arial, Helvetica, Liberation Sans, sans-serif"}


def test_axes_carry_their_units_and_shares_become_percentages() -> None:
    words = drawn(
        charts.intervals("t", [("a", 0.874, 0.85, 0.9, "this run"), ("b", 0.8, None, None, "paper")], Axis("Accuracy", "%"))
    )
    for word in ("Accuracy (%)", "87.4", "80.0", "this run", "paper"):
        assert word in words


def test_a_rule_stands_where_it_was_put() -> None:
    bare = charts.histogram("t", [0, 0.5, 1], {"kept": [1, 2]}, Axis("Confidence", "%"), Axis("Images"))
    ruled = charts.histogram(
        "t", [0, 0.5, 1], {"kept": [1, 2]}, Axis("Confidence", "%"), Axis("Images"), Rule(0.5, "from 50 %")
    )
    assert "from 50 %" in drawn(ruled)
    assert "stroke-dasharray" in ruled.svg
    assert "stroke-dasharray" not in bare.svg


def test_a_confusion_matrix_shows_its_counts_with_true_classes_as_rows() -> None:
    svg = ET.fromstring(charts.confusion("t", [[411, 1], [37, 1200]], ["functional", "defective"]).svg)
    places = {
        "".join(text.itertext()): tuple(map(float, re.findall(r"[-\d.]+", text.get("transform") or "")[:2]))
        for text in svg.iter("{http://www.w3.org/2000/svg}text")
    }
    assert places["411"][1] == places["1"][1] < places["37"][1] == places["1,200"][1]
    assert places["411"][0] == places["37"][0] < places["1"][0] == places["1,200"][0]


def test_curves_leave_out_what_is_not_finite() -> None:
    gaps = charts.lines("t", {"a": [(0, float("nan")), (1, 0.5), (2, float("inf")), (3, 0.25)]}, Axis("Step"), Axis("Loss"))
    assert gaps == charts.lines("t", {"a": [(1, 0.5), (3, 0.25)]}, Axis("Step"), Axis("Loss"))


def test_charts_of_nothing_are_empty_not_errors() -> None:
    for figure in (
        charts.lines("t", {"a": []}, Axis("Step"), Axis("Loss")),
        charts.histogram("t", [0, 0.5, 1], {"kept": [0, 0]}, Axis("c"), Axis("n"), Rule(0.5, "r")),
        charts.confusion("t", [[0, 0], [0, 0]], ["a", "b"]),
        charts.bars("t", [("a", 0, "x")], Axis("n")),
    ):
        assert figure.svg.startswith("<svg")
        assert "NaN" not in figure.svg


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_without_the_drawing_packages_the_message_names_the_extra(missing: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=re.escape("pip install 'eyas[report]'")):
        CHARTS["bars"]("x")


def test_importing_the_report_does_not_import_the_drawing_packages() -> None:
    code = (
        "import sys, eyas.report.page, eyas.report.charts; sys.exit(bool({'altair', 'vl_convert', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
