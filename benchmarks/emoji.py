"""Emoji of one meaning as four vendors draw them: the pictures of the embedding and the detection benchmarks.

    python benchmarks/emoji.py [--cache FOLDER] [--json]

The pictures are in npm packages (emoji-datasource-google, -twitter, -facebook and -apple, 64 pixels with alpha). They belong
to their vendors, are fetched for study into a cache folder (by `npm pack`, about 350 MB of which 50 MB are kept), and are
never redistributed.
"""

import argparse
import json
import shutil
import subprocess
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from eyas.errors import UserError
from eyas.places import user_cache

VENDORS = ("google", "twitter", "facebook", "apple")
VERSION = "16.0.0"
SIDE = 64  # pixels of the pictures


@dataclass(frozen=True, slots=True)
class Emoji:
    """One meaning.

    Attributes:
        code: its Unicode code points, the name of its files.
        name: in words (`rolling_on_the_floor_laughing`).
        group: of meanings that look alike (`face-smiling`): split by it where near copies must not be on both sides.
        pictures: one a vendor, in the order of `VENDORS`.
    """

    code: str
    name: str
    group: str
    pictures: tuple[Path, ...]


def fetch(cache: Path | None = None) -> Path:
    """The folder with the vendors' pictures, fetched where it does not hold them yet.

    Raises:
        UserError: npm is missing, or cannot fetch a package.
    """
    root = cache or user_cache() / "emoji"
    for vendor in VENDORS:
        if not (root / vendor / "emoji.json").exists():
            root.mkdir(parents=True, exist_ok=True)
            _fetch_one(vendor, root / vendor)
    return root


def _fetch_one(vendor: str, folder: Path) -> None:
    package = f"emoji-datasource-{vendor}"
    if shutil.which("npm") is None:
        raise UserError(
            f"{package} is fetched by npm, which is not installed; install Node.js, or give --cache a filled folder"
        )
    with TemporaryDirectory(dir=folder.parent, prefix=f".{vendor}-") as scratch:
        asked = ["npm", "pack", f"{package}@{VERSION}", "--silent", "--pack-destination", scratch]
        done = subprocess.run(asked, capture_output=True, text=True)
        archives = list(Path(scratch).glob("*.tgz"))
        if done.returncode or not archives:
            raise UserError(
                f"npm could not fetch {package} {VERSION}: {done.stderr.strip()[-300:] or 'no archive was written'}"
            )
        with tarfile.open(archives[0]) as archive:
            wanted = ("package/emoji.json", "package/LICENSE", f"package/img/{vendor}/{SIDE}/")
            archive.extractall(scratch, [entry for entry in archive if entry.name.startswith(wanted)], filter="data")
        shutil.rmtree(folder, ignore_errors=True)
        (Path(scratch) / "package").replace(folder)  # whole or not at all


def drawn(root: Path, vendors: Sequence[str] = VENDORS) -> list[Emoji]:
    """The emoji that all of `vendors` draw, without variants of skin, sorted by code.

    Of emoji that a vendor draws the same (some flags are one picture under several names) only the first is kept.
    """
    entries = json.loads((root / vendors[0] / "emoji.json").read_text())
    seen: set[bytes] = set()
    found = []
    for entry in sorted(entries, key=lambda entry: entry["unified"]):
        pictures = tuple(root / vendor / "img" / vendor / str(SIDE) / entry["image"] for vendor in vendors)
        if not all(entry[f"has_img_{vendor}"] and file.exists() for vendor, file in zip(vendors, pictures, strict=True)):
            continue
        marks = {sha256(opened(file).tobytes()).digest() for file in pictures}
        if not marks & seen:
            found.append(Emoji(entry["unified"], entry["short_name"], entry["subcategory"], pictures))
        seen |= marks
    return found


def opened(file: Path) -> np.ndarray:
    """A picture as uint8 [64, 64, 4], the last channel alpha."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGBA"))


def split(emoji: Sequence[Emoji], share: float, seed: int) -> tuple[list[Emoji], list[Emoji]]:
    """Whole groups for training, and for the rest about `share` of the emoji, drawn by `seed`."""
    sizes = Counter(each.group for each in emoji)
    held: set[str] = set()
    for group in np.random.default_rng(seed).permutation(sorted(sizes)).tolist():
        if sum(sizes[name] for name in (*held, group)) <= share * len(emoji):
            held.add(group)
    return [each for each in emoji if each.group not in held], [each for each in emoji if each.group in held]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="folder for the pictures; the user's cache where it is not given")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    root = fetch(given.cache)
    emoji = drawn(root)
    found = {"folder": str(root), "vendors": len(VENDORS), "emoji": len(emoji), "groups": len({each.group for each in emoji})}
    print(json.dumps(found) if given.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
