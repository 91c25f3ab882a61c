"""WebDataset shards: tar files in which the members of one key are one image and what is known of it."""

import json
import re
import tarfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from eyas.data import remote, sources
from eyas.data.manifest import Manifest
from eyas.data.readers.folders import SPLIT_NAMES
from eyas.data.readers.places import Place, is_image, text
from eyas.data.readers.rows import Row, manifest_of
from eyas.errors import UserError
from eyas.progress import work

LABELS = ("cls", "json", "txt")  # endings of members that may hold the label, the first one wins
_LABEL_BYTES = 1 << 20  # a longer member is no label


def fits(source: str) -> bool:
    """Whether a source is a tar file or a pattern of such."""
    return source.lower().endswith((".tar", ".tar}"))


def read(source: str, labelled: bool) -> Manifest:
    """Every image in the shards, read where it lies in them; only the headers of the members are read now.

    `source` is a tar file or a pattern: `shards/{000..003}.tar`, `shards/{train,val}-*.tar`. The label is in the member
    `<key>.cls`, in `label` or `labels` of `<key>.json` (whose other entries become columns), or in `<key>.txt`. Shards
    whose names begin with train, validation and test fix the splits.

    Raises:
        UserError: no such shard, one that is damaged or compressed, an image without a label, two images of one key.
    """
    places = _shards(source)
    splits = _splits(places)
    return manifest_of(
        places[0] if len(places) == 1 else Place.of(source), _every_row(places, splits, labelled), labelled, "json"
    )


def expand(pattern: str) -> list[str]:
    """The texts that braces stand for: `{a,b}` and `{000..003}`, padded with zeros as they are written."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return [pattern]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if numbers:
        first, last = numbers.groups()
        parts = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    else:
        parts = found[1].split(",")
    return [each for part in parts for each in expand(pattern[: found.start()] + part + pattern[found.end() :])]


def _shards(source: str) -> list[Place]:
    found: list[Place] = []
    for pattern in [source] if Place.of(source).exists() else expand(source):
        place = Place.of(pattern)
        if "*" not in pattern and "?" not in pattern:
            if not place.exists():
                raise UserError(f"no shard at {place}; give the .tar files that are there, like 'shards/{{000..003}}.tar'")
            found.append(place)
        else:
            matches = _matches(place)
            if not matches:
                raise UserError(f"no shard is called {place}; give the .tar files that are there, like 'shards/*.tar'")
            found.extend(matches)
    return list(dict.fromkeys(found))


def _matches(place: Place) -> list[Place]:
    if not place.remote:
        pattern = place.address.lstrip("/").replace("[", "[[]")  # only * and ? are patterns
        return [Place(str(path)) for path in sorted(Path("/").glob(pattern))]
    system, path = remote.filesystem(place.address)
    return [Place(system.unstrip_protocol(name)) for name in sorted(system.glob(path))]


def _splits(places: list[Place]) -> dict[Place, str]:
    """Splits by the first word of a shard's name, where one is for training."""
    words = {place: re.split(r"[^a-z]", place.name.lower())[0] for place in places}
    splits = {place: SPLIT_NAMES[word] for place, word in words.items() if word in SPLIT_NAMES}
    others = [place.name for place in places if place not in splits]
    if "train" not in splits.values():
        return {}
    if others and len({*splits.values()}) > 1:
        raise UserError(
            f"the shards are named after splits, but {others[0]} is not; begin every name with train, validation or test"
        )
    return {} if others else dict(splits)


def _every_row(places: list[Place], splits: dict[Place, str], labelled: bool) -> Generator[Row]:
    distinct = len({place.name for place in places}) == len(places)
    with work("reading shards", total=len(places)) as progress:
        for done, place in enumerate(places):
            shard = (place.name if distinct else place.address).removesuffix(".tar")
            split = {"split": splits[place]} if splits else {}
            for key, members in _samples(place).items():
                image = _image(place, key, members)
                if image is not None:
                    name, source = image
                    known = _known(place, key, members) if labelled else {}
                    yield Row(f"{key} of {place.name}", name, f"{shard}/{name}", source, split | known)
            progress.at(done + 1)


def _samples(place: Place) -> dict[str, dict[str, str | bytes]]:
    """Members by key and then by ending: the source of an image, the content of a label."""
    samples: dict[str, dict[str, str | bytes]] = {}
    try:
        with place.open() as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                folder, _, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                if not member.isreg() or not stem:
                    continue
                ending = text(ending)
                parts = samples.setdefault(text(f"{folder}/{stem}" if folder else stem), {})
                if is_image(base):
                    parts[ending] = sources.member(place.address, member.offset_data, member.size)
                elif ending in LABELS and member.size <= _LABEL_BYTES:
                    content = tar.extractfile(member)
                    parts[ending] = content.read() if content else b""
    except tarfile.TarError as error:
        raise UserError(
            f"{place} is damaged, or no tar file, or a compressed one ({error}); copy it again, or unpack the .gz to a .tar"
        ) from None
    return samples


def _image(place: Place, key: str, members: dict[str, str | bytes]) -> tuple[str, str] | None:
    """Name and source of the image of a sample, `None` where it has none; `a.jpg` comes before `a.mask.png`."""
    found = {ending: source for ending, source in members.items() if isinstance(source, str)}
    plain = [ending for ending in found if "." not in ending] or list(found)
    if len(plain) > 1:
        raise UserError(
            f"{place}: {key} has the images {', '.join(plain)}; one image has one key, the name up to its first dot"
        )
    return (f"{key}.{plain[0]}", str(found[plain[0]])) if plain else None


def _known(place: Place, key: str, members: dict[str, str | bytes]) -> dict[str, Any]:
    """What the members beside the image say of it."""
    texts = {ending: _decoded(place, key, ending, members[ending]) for ending in LABELS if ending in members}
    known: dict[str, Any] = {}
    if "json" in texts:
        try:
            known = json.loads(texts["json"])
        except json.JSONDecodeError as error:
            raise UserError(f"{place}: {key}.json is no JSON ({error.msg}); write the shard again") from None
        if not isinstance(known, dict):
            known = {"label": known}
    if "cls" in texts:
        known.pop("labels", None)
        return known | {"label": texts["cls"].strip()}
    if "txt" in texts and not {"label", "labels"} & {*known}:
        return known | {"label": texts["txt"].strip()}
    return known


def _decoded(place: Place, key: str, ending: str, content: str | bytes) -> str:
    try:
        return content.decode("utf-8-sig") if isinstance(content, bytes) else content
    except UnicodeDecodeError:
        raise UserError(f"{place}: {key}.{ending} is not UTF-8 text; write the shard again") from None
