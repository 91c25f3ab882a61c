"""A report as Markdown. Pictures cannot go into one Markdown file: charts and galleries leave their titles and captions."""

import re

from eyas.report import cells
from eyas.report.items import Figure, Gallery, Item, Numbers, Section, Table, Text, Verdict

# What Markdown (and the HTML in it) would take for markup.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&])")
_AT_LINE_START = re.compile(r"^(\d*)([#+\-.)](?=\s|$)|#{2,}(?=\s|$)|[-=]{2,})")
_CODE = re.compile(r"(`[^`\n]+`)")


def page(title: str, subtitle: str, lead: tuple[Item, ...], sections: tuple[Section, ...]) -> str:
    """The whole report as one Markdown text."""
    parts = [f"# {line(title)}", line(subtitle), *(item(each) for each in lead)]
    for section in sections:
        parts += [f"## {line(section.title)}", *(item(each) for each in section.items)]
    return "\n\n".join(part for part in parts if part) + "\n"


def item(value: Item) -> str:
    """One item as Markdown, without blank lines around it."""
    match value:
        case Text():
            return _text(value)
        case Verdict():
            return f"> **{line(value.sentence)}**"
        case Numbers():
            return "\n".join(_number(each.label, each.value, each.note) for each in value.numbers)
        case Table():
            return _table(value)
        case Figure():
            return _caption(value.title, value.note)
        case Gallery():
            names = "\n".join(f"- {line(caption)}" for _, caption in value.images)
            return f"{_caption(value.title, value.note)}\n\n{names}".strip()


def line(text: str) -> str:
    """Plain text on one line, with everything that Markdown would take for markup escaped."""
    return _AT_LINE_START.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", " ".join(text.split())))


def _text(text: Text) -> str:
    return "\n\n".join("\n".join(("- " if listed else "") + _prose(raw) for raw in lines) for listed, lines in text.blocks())


def _prose(text: str) -> str:
    pieces = [piece if _CODE.fullmatch(piece) else _SPECIAL.sub(r"\\\1", piece) for piece in _CODE.split(text)]
    return _AT_LINE_START.sub(r"\1\\\2", "".join(pieces))


def _number(label: str, value: str, note: str) -> str:
    return f"- {line(label)}: **{line(value)}**" + (f" ({line(note)})" if note else "")


def _table(table: Table) -> str:
    rule = ["---:" if right else "---" for right in cells.numeric(table)]
    rows = [[line(cell) for cell in row] for row in cells.texts(table)]
    grid = "\n".join(f"| {' | '.join(row)} |" for row in [[line(column) for column in table.columns], rule, *rows])
    note = f"\n\n{line(table.note)}" if table.note else ""
    return f"**{line(table.title)}**\n\n{grid}{note}"


def _caption(title: str, note: str) -> str:
    return f"*{line(title)}*" + (f": {line(note)}" if note else "")
