"""Image files for tests: sound ones, odd ones, and those that must be refused."""

import io
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from eyas.data.manifest import Manifest

ORIENTATION = 0x0112  # EXIF tag


def picture(seed: int = 0, height: int = 24, width: int = 32, channels: int = 3) -> np.ndarray:
    """A smooth picture with some texture, uint8 [h, w, c]; another one for every seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, channels), np.uint8)
    layers = [Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)]
    smooth = np.stack([np.asarray(layer) for layer in layers], -1).astype(int)
    return np.clip(smooth + rng.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)


def image(seed: int = 0, height: int = 24, width: int = 32, channels: int = 3) -> Image.Image:
    """The picture as a Pillow image: L or RGB."""
    pixels = picture(seed, height, width, channels)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def put(path: Path, content: bytes) -> Path:
    """Write a file, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def class_folders(root: Path, classes: dict[str, int], size: int = 12) -> Path:
    """A folder for each class with so many different PNG images."""
    seed = 0
    for name, count in classes.items():
        for number in range(count):
            seed += 1
            put(root / name / f"{number}.png", encoded(image(seed, size, size), "PNG"))
    return root


def huge_png(width: int = 20_000, height: int = 20_000) -> bytes:
    """A sound 1-bit PNG header for a very large picture, and next to nothing of the picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(height * (1 + (width + 7) // 8)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def grey_16_bits() -> np.ndarray:
    """uint16 [h, w] from 0 to 65535."""
    return np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)


def hostile(folder: Path) -> dict[str, str | None]:
    """Write odd files into `folder`: each name with how its refusal begins, or None where it must be read."""
    jpeg, png = encoded(image(1, 200, 200), "JPEG"), encoded(image(2, 200, 200), "PNG")
    frames = [image(seed).convert("P") for seed in (3, 4, 5)]
    see_through = image(6).convert("P")
    rotated = Image.Exif()
    rotated[ORIENTATION] = 6
    files: dict[str, tuple[bytes, str | None]] = {
        "half.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "almost.jpg": (jpeg[: len(jpeg) - 200], "truncated"),
        "start.jpg": (jpeg[:40], "damaged"),
        "half.png": (png[: len(png) // 2], "truncated"),
        "start.png": (png[:20], "damaged"),
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"this is no picture at all\n" * 20, "not an image"),
        "huge.png": (huge_png(), "100 megapixels at most: 20000x20000 has 400"),
        "png-inside.jpg": (encoded(image(7), "PNG"), None),
        "cmyk.jpg": (encoded(image(8).convert("CMYK"), "JPEG"), None),
        "grey16.png": (encoded(Image.fromarray(grey_16_bits()), "PNG"), None),
        "palette.png": (encoded(see_through, "PNG", transparency=0), None),
        "rgba.png": (encoded(image(9, channels=4), "PNG"), None),
        "la.png": (encoded(image(10, channels=2), "PNG"), None),
        "animated.gif": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), None),
        "rotated.jpg": (encoded(image(11), "JPEG", exif=rotated), None),
        "plain.webp": (encoded(image(12), "WEBP"), None),
    }
    for name, (content, _) in files.items():
        put(folder / name, content)
    (folder / "broken-link.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    reasons = {name: reason for name, (_, reason) in files.items()}
    return reasons | {"broken-link.jpg": "no such file", "folder.jpg": "a folder", "pipe.jpg": "not a regular file"}


def manifest_of(folder: Path, names: Iterable[str]) -> Manifest:
    """A manifest of files in a folder, without labels."""
    ids = list(names)
    return Manifest.of({"id": ids, "source": [str(folder / id) for id in ids]})
