"""Pairs of images of the same or of different people, as LFW lists them (Huang et al. 2007)."""

from dataclasses import dataclass

from eyas.data.manifest import Manifest
from eyas.data.readers.folders import class_folders
from eyas.data.readers.places import Place, folder_of
from eyas.errors import UserError


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images by their ids, whether they show the same person, and the fold (from 0) that the list puts them in."""

    first: str
    second: str
    same: bool
    fold: int


@dataclass(frozen=True)
class Pairs:
    """The images, labelled by person, and the pairs to tell apart."""

    images: Manifest
    pairs: tuple[Pair, ...]


def read_pairs(source: str) -> Pairs:
    """A list like LFW's `pairs.txt` or `pairsDevTrain.txt`; the folders of the people are beside it or in a folder there.

    The first line has the number of folds, where there are several, and the number of pairs of each kind in a fold. Then
    come, for every fold, so many lines `name 1 2` (the same person) and as many `name 1 other 2` (different people).

    Raises:
        UserError: naming the line: it has another form, or a picture is not there; or the number of pairs is another one.
    """
    place = Place.of(source)
    lines = [(number, line.split()) for number, line in place.lines()]
    folds, size = _head(place, lines[0][1] if lines else [])
    if len(lines) - 1 != 2 * folds * size:
        raise UserError(
            f"{place} has {len(lines) - 1} pairs where line 1 promises {2 * folds * size} ({folds} folds, {size} of each kind)"
        )
    named = [(line, _pictures(place, line, words)) for line, words in lines[1:]]
    folder = folder_of(place, sorted({id for _, pair in named for id in pair}))
    images = class_folders(folder)
    there = set(images.column("id"))
    for line, pair in named:
        for id in pair:
            if id not in there:
                raise UserError(f"{place}, line {line}: no picture {id!r} in {folder}; the list is for other images")
    same = (len(words) == 3 for _, words in lines[1:])
    pairs = (Pair(*ids, same=kind, fold=i // (2 * size)) for i, ((_, ids), kind) in enumerate(zip(named, same, strict=True)))
    return Pairs(images, tuple(pairs))


def _head(place: Place, words: list[str]) -> tuple[int, int]:
    """Folds, and pairs of each kind in a fold."""
    if not 1 <= len(words) <= 2 or not all(word.isdigit() and int(word) for word in words):
        raise UserError(
            f"{place}, line 1: {' '.join(words)[:40] or 'nothing'!r} where the number of pairs is expected, "
            "with the number of folds before it where there are several, as in LFW's pairs.txt"
        )
    return (int(words[0]) if len(words) == 2 else 1), int(words[-1])


def _pictures(place: Place, line: int, words: list[str]) -> tuple[str, str]:
    match words:
        case [name, first, second] if first.isdigit() and second.isdigit():
            return _picture(name, first), _picture(name, second)
        case [name, first, other, second] if first.isdigit() and second.isdigit():
            return _picture(name, first), _picture(other, second)
    raise UserError(f"{place}, line {line}: {' '.join(words)[:60]!r} is no pair; write name 1 2, or name 1 other 2")


def _picture(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"
