"""The report: values in; one HTML page, Markdown and JSON out."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eyas.report import html, markdown
from eyas.report.items import Figure, Gallery, Item, Numbers, Section, Table, Text, Verdict
from eyas.run import plain, write_atomic, write_json


@dataclass(frozen=True, slots=True)
class Report:
    """What was asked, found and proven.

    Attributes:
        title: of the page.
        subtitle: one line under it.
        lead: what the reader sees first, above the contents: the verdict and the headline figures.
        sections: the evidence.
        facts: the raw numbers, for programs; only in the JSON, under their own names.
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    lead: tuple[Item, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def to_html(self) -> str:
        """One page that needs no network and runs no script."""
        return html.page(self.title, self.subtitle, self.lead, self.sections)

    def to_markdown(self) -> str:
        """The words and the tables; charts and galleries by their titles and captions."""
        return markdown.page(self.title, self.subtitle, self.lead, self.sections)

    def to_json(self) -> dict[str, Any]:
        """The facts, words and tables as strict JSON: numbers that are not finite become null. No pixels, no charts."""
        return {
            "title": self.title,
            "subtitle": self.subtitle,
            "facts": _finite(plain(self.facts)),
            "lead": [_json(each) for each in self.lead],
            "sections": [{"title": each.title, "items": [_json(item) for item in each.items]} for each in self.sections],
        }

    def save(self, folder: Path) -> Path:
        """Write `report.html` and `report.json` into `folder`, each whole or not at all; returns the page's path."""
        page = folder / "report.html"
        write_json(folder / "report.json", self.to_json())
        write_atomic(page, self.to_html().encode())
        return page


def _json(item: Item) -> dict[str, Any]:
    kind = type(item).__name__.lower()
    match item:
        case Text() | Verdict() | Numbers() | Table():
            return {"kind": kind, **_finite(plain(item))}
        case Figure():
            return {"kind": kind, "title": item.title, "note": item.note}
        case Gallery():
            return {"kind": kind, "title": item.title, "captions": [caption for _, caption in item.images], "note": item.note}


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list():
            return [_finite(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
