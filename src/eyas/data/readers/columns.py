"""Columns of images and labels in Arrow tables, with the names of classes that Hugging Face keeps in their schema."""

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from eyas.data import cells
from eyas.data.readers.places import Place
from eyas.data.readers.rows import Row
from eyas.errors import UserError


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column holds what: `image` the bytes (`None`: there are none), `label` the class or classes.

    `names` are those of the classes where the label is a number; without them it is text already.
    """

    image: str | None
    label: str | None
    many: bool
    names: tuple[str, ...] | None


def layout(schema: pa.Schema, where: str, asked: str | None = None) -> Layout:
    """What the columns of a table are; `asked` names the one with the labels.

    Raises:
        UserError: there are several of one kind, and none is called `image` or `label`; `asked` is not there.
    """
    features = _features(schema)
    kinds = {name: _class_names(features.get(name)) for name in schema.names}
    if asked is not None and asked not in schema.names:
        raise UserError(f"{where} has no column {asked!r}; its columns are {', '.join(schema.names)}")
    candidates = [name for name in schema.names if name in ("label", "labels")] or [name for name in kinds if kinds[name]]
    if len(candidates) > 1 and asked is None:
        raise UserError(
            f"{where} has labels in {', '.join(candidates)}; name the one that is meant, as in hf:owner/name#{candidates[0]}"
        )
    label = asked or (candidates[0] if candidates else None)
    many = label is not None and _is_list(schema.field(label).type)
    return Layout(_image(schema, where), label, many, kinds[label] if label else None)


def rows(table: pa.Table, plan: Layout, file: Place, scheme: str, prefix: str, start: int, split: str | None) -> Generator[Row]:
    """A row for each row of a file whose images are in its cells; `start` is the number of the first one in its split."""
    assert plan.image is not None
    for number, known in enumerate(described(table, plan)):
        source = cells.source(scheme, file.address, number, plan.image)
        id = f"{prefix}/{start + number:06d}"
        yield Row(f"row {number}", id, id, source, known if split is None else known | {"split": split})


def described(table: pa.Table, plan: Layout) -> Iterator[dict[str, Any]]:
    """The cells of each row but its image, under the names that a manifest knows, classes by their names.

    A class of -1 or null, which is how Hugging Face hides the labels of a test split, is `None`.
    """
    names = [name for name in table.column_names if not holds_bytes(table.schema.field(name).type)]
    called = {plan.label: "labels" if plan.many else "label"}
    values = [table[name].to_pylist() for name in names]
    keys = [called.get(name, name) for name in names]
    for row in zip(*values, strict=True) if names else ({} for _ in range(table.num_rows)):
        known = dict(zip(keys, row, strict=True)) if names else {}
        if plan.names and plan.label:
            key = called[plan.label]
            known[key] = [_named(plan.names, i) for i in known[key] or ()] if plan.many else _named(plan.names, known[key])
        yield known


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds files: bytes, or the struct of bytes and a path."""
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _image(schema: pa.Schema, where: str) -> str | None:
    found = [field.name for field in schema if holds_bytes(field.type)]
    if len(found) > 1 and "image" not in found:
        raise UserError(f"{where} has images in {', '.join(found)}; rename the column that is meant to image")
    return "image" if "image" in found else found[0] if found else None


def _named(names: tuple[str, ...], number: int | None) -> str | None:
    return names[number] if number is not None and 0 <= number < len(names) else None


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What Hugging Face says of the columns, nothing where another program wrote the file."""
    try:
        kept = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return dict(kept["info"]["features"])
    except (ValueError, KeyError, TypeError):
        return {}


def _class_names(feature: Any) -> tuple[str, ...] | None:
    """Names of the classes of a feature, or of those in a list of them."""
    if isinstance(feature, list):
        feature = feature[0] if feature else None
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") == "ClassLabel":
        return tuple(feature.get("names") or ()) or None
    return _class_names(feature.get("feature"))
