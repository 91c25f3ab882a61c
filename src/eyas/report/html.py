"""A report as one HTML file that loads nothing: styles, charts and images are inside, and there is no script."""

import re
from collections.abc import Iterable
from html import escape
from itertools import groupby

from eyas.report import cells, pictures
from eyas.report.items import Figure, Gallery, Item, Number, Numbers, Section, Table, Text, Tone, Verdict
from eyas.report.style import CSS

# The browser itself refuses whatever would be fetched or run, should anything ever slip into the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
MARKS = {"good": "✓", "bad": "✗"}  # so that the tone does not hang on colour alone

_CODE = re.compile(r"`([^`\n]+)`")


def page(title: str, subtitle: str, lead: tuple[Item, ...], sections: tuple[Section, ...]) -> str:
    """The whole report as one HTML document. The same values give the same text."""
    contents = "".join(f'<li><a href="#{_anchor(n)}">{escape(each.title)}</a></li>' for n, each in enumerate(sections))
    body = "\n".join(_section(number, each) for number, each in enumerate(sections))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{CSS}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else ""}
{_items(lead)}
</header>
<nav aria-label="Contents"><h2>Contents</h2><ol>{contents}</ol></nav>
<main>
{body}
</main>
<footer><p>Made by Eyas. This page is a single file; it loads nothing and runs nothing.</p></footer>
</body>
</html>
"""


def item(value: Item) -> str:
    """One item as an HTML element, everything but the SVG of a figure escaped."""
    match value:
        case Text():
            return _text(value)
        case Verdict():
            return f'<p class="verdict {value.tone}">{_mark(value.tone)}<span>{escape(value.sentence)}</span></p>'
        case Numbers():
            return f'<dl class="numbers">{"".join(_number(each) for each in value.numbers)}</dl>'
        case Table():
            return _table(value)
        case Figure():
            return _figure(value)
        case Gallery():
            return _gallery(value)


def _anchor(number: int) -> str:
    return f"section-{number + 1}"


def _section(number: int, section: Section) -> str:
    return f'<section id="{_anchor(number)}">\n<h2>{escape(section.title)}</h2>\n{_items(section.items)}\n</section>'


def _items(items: Iterable[Item]) -> str:
    """Charts that follow one another stand side by side where there is room."""
    blocks = []
    for charts, group in groupby(items, key=lambda each: isinstance(each, Figure)):
        shown = [item(each) for each in group]
        blocks += ['<div class="charts">', *shown, "</div>"] if charts else shown
    return "\n".join(blocks)


def _text(text: Text) -> str:
    blocks = []
    for listed, lines in text.blocks():
        shown = [_CODE.sub(r"<code>\1</code>", escape(line)) for line in lines]
        blocks.append(f"<ul>{''.join(f'<li>{line}</li>' for line in shown)}</ul>" if listed else f"<p>{' '.join(shown)}</p>")
    return "\n".join(blocks)


def _number(number: Number) -> str:
    note = f'<dd class="note">{escape(number.note)}</dd>' if number.note else ""
    value = f'<dd class="value">{escape(number.value)}{_mark(number.tone)}</dd>'
    return f'<div class="{number.tone}"><dt>{escape(number.label)}</dt>{value}{note}</div>'


def _mark(tone: Tone) -> str:
    return f'<span class="mark" aria-hidden="true">{MARKS[tone]}</span>' if tone in MARKS else ""


def _table(table: Table) -> str:
    styles = [' class="n"' if right else "" for right in cells.numeric(table)]
    head = "".join(f'<th scope="col"{style}>{escape(name)}</th>' for name, style in zip(table.columns, styles, strict=True))
    body = "\n".join(_row(row, styles) for row in cells.texts(table))
    # A wide table scrolls by itself; the tab stop lets the keyboard scroll it too.
    return f"""<div class="table" tabindex="0" role="group" aria-label="{escape(table.title)}">
<table>
<caption>{escape(table.title)}</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
{_note(table.note)}</div>"""


def _row(row: list[str], styles: list[str]) -> str:
    return f"<tr>{''.join(f'<td{style}>{escape(cell)}</td>' for cell, style in zip(row, styles, strict=True))}</tr>"


def _figure(figure: Figure) -> str:
    drawing = f'<div role="img" aria-label="{escape(f"Chart: {figure.title}. {figure.note}".strip())}">{figure.svg}</div>'
    return f'<figure class="chart">{_caption(figure.title)}{drawing}{_note(figure.note)}</figure>'


def _gallery(gallery: Gallery) -> str:
    shown = "\n".join(
        f'<li><img src="{pictures.data_uri(image)}" alt="{escape(caption)}" width="{image.shape[1]}" height="{image.shape[0]}">'
        f"<span>{escape(caption)}</span></li>"
        for image, caption in gallery.images
    )
    return f'<figure class="gallery">{_caption(gallery.title)}<ul>\n{shown}\n</ul>{_note(gallery.note)}</figure>'


def _caption(title: str) -> str:
    return f"<figcaption>{escape(title)}</figcaption>"


def _note(note: str) -> str:
    return f'<p class="note">{escape(note)}</p>' if note else ""
