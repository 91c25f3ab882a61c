"""Malformed and unusual image files, more than fifty: each with how its refusal begins, or None where it must be read."""

import struct
import zlib
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from tests.images import ORIENTATION, encoded, grey_16_bits, hostile, image, picture, put

TURNS = range(1, 9)


def corpus(folder: Path) -> dict[str, str | None]:
    """Write the files into `folder`, those of `hostile` among them."""
    files = cut_files() | sound_files() | bombs() | broken_files()
    for name, (content, _) in files.items():
        put(folder / name, content)
    reasons = hostile(folder) | {name: reason for name, (_, reason) in files.items()}
    (folder / "link.png").symlink_to(folder / "strip.png")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "link-to-folder.jpg").symlink_to(folder / "folder.jpg")
    return reasons | {"link.png": None, "loop.jpg": "cannot be read", "link-to-folder.jpg": "a folder"}


Files = dict[str, tuple[bytes, str | None]]


def cut_files() -> Files:
    """Cut at every tenth of their length."""
    wholes = {
        "cut.jpg": encoded(image(20, 200, 200), "JPEG"),
        "cut-progressive.jpg": encoded(image(21, 200, 200), "JPEG", progressive=True),
        "cut.png": encoded(image(22, 200, 200), "PNG"),
    }
    cut = {
        f"{tenths}0-percent-{name}": (whole[: len(whole) * tenths // 10], "truncated" if tenths else "empty file")
        for name, whole in wholes.items()
        for tenths in range(10)
    }
    return cut | {"10-percent-cut.jpg": (cut["10-percent-cut.jpg"][0], "damaged: it begins as JPEG")}  # within its header


def sound_files() -> Files:
    """Unusual, and to be read."""
    frames = [image(seed) for seed in (30, 31, 32)]
    turned = {f"exif-{turn}.jpg": encoded(image(40 + turn), "JPEG", exif=orientation(turn)) for turn in TURNS}
    inks = np.asarray(image(60).convert("CMYK"))
    contents = turned | {
        "progressive.jpg": encoded(image(61), "JPEG", progressive=True),
        "grey.jpg": encoded(image(62, channels=1), "JPEG"),
        "ycck.jpg": simplejpeg.encode_jpeg(inks, colorspace="CMYK", colorsubsampling="444"),
        "rgb-inside.jpg": encoded(image(63), "JPEG", keep_rgb=True),
        "restarts.jpg": encoded(image(64), "JPEG", restart_marker_blocks=2),
        "two-pictures.jpg": encoded(image(65), "JPEG") + encoded(image(66), "JPEG"),
        "trailing-garbage.jpg": encoded(image(67), "JPEG") + bytes(range(256)) * 40,
        "trailing-garbage.png": encoded(image(68), "PNG") + bytes(range(256)) * 40,
        "huge-exif.jpg": encoded(image(69), "JPEG", exif=b"Exif\0\0" + b"\xff\xd8\xff\xda" * 16_000),
        "odd-exif.jpg": encoded(image(70), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"),
        "odd-profile.png": encoded(image(71), "PNG", icc_profile=b"not a profile"),
        "camera.mpo": encoded(image(72), "MPO", save_all=True, append_images=[image(73)]),
        "palette.gif": encoded(image(74).convert("P"), "GIF"),
        "gif-inside.png": encoded(image(75).convert("P"), "GIF"),
        "bmp-inside.gif": encoded(image(76), "BMP"),
        "jpeg-inside.png": encoded(image(77), "JPEG"),
        "webp-inside.tif": encoded(image(78), "WEBP"),
        "animated.webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True),
        "animated.png": encoded(image(79), "PNG", save_all=True, append_images=frames[1:]),
        "pages.tif": encoded(image(80), "TIFF", save_all=True, append_images=frames[1:]),
        "inks.tif": encoded(image(81).convert("CMYK"), "TIFF"),
        "one-bit.png": encoded(image(82).convert("1"), "PNG"),
        "grey16.tif": encoded(Image.fromarray(grey_16_bits()[::-1].copy()), "TIFF"),
        "rgb16.png": png(picture(83).astype(">u2") * 257, 16),
        "strip.png": encoded(image(84, 1, 3000), "PNG"),
        "one-pixel.png": encoded(image(85, 1, 1), "PNG"),
        "naïve 図.png": encoded(image(86), "PNG"),
    }
    return {name: (content, None) for name, content in contents.items() if name != "camera.mpo"} | {
        "camera.jpg": (contents["camera.mpo"], None)
    }


def bombs() -> Files:
    """Small files that ask for a lot of memory or time."""
    jpeg, gif, bmp = encoded(image(90), "JPEG"), encoded(image(91).convert("P"), "GIF"), encoded(image(92), "BMP")
    frame = jpeg.index(b"\xff\xc0") + 5
    side = struct.pack(">H", 60_000)
    limit = "100 megapixels at most"
    return {
        "huge.jpg": (jpeg[:frame] + side + side + jpeg[frame + 4 :], limit),
        "huge.gif": (gif[:6] + struct.pack("<HH", 60_000, 60_000) + gif[10:], limit),
        "huge.bmp": (bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:], limit),
        "scans.jpg": (many_scans(), "damaged: a JPEG of more than 500 scans"),
        "text-bomb.png": (text_bomb(), "damaged"),
    }


def broken_files() -> Files:
    jpeg, png_file = encoded(image(95), "JPEG"), encoded(image(96), "PNG")
    idat = png_file.index(b"IDAT")
    frame = jpeg.index(b"\xff\xc0") + 5
    return {
        "zeros.jpg": (bytes(5000), "not an image"),
        "only-the-start.jpg": (b"\xff\xd8\xff", "damaged"),
        "page.jpg": (b"<!DOCTYPE html><title>404 Not Found</title>", "not an image"),
        "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image"),
        "document.tif": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "not an image"),
        "wrong-sum.png": (png_file[: idat + 40] + bytes([png_file[idat + 40] ^ 1]) + png_file[idat + 41 :], "damaged"),
        "no-pixels.png": (png(np.zeros((0, 5, 3), np.uint8), 8), "damaged"),
        "no-lines.jpg": (jpeg[:frame] + b"\0\0" + jpeg[frame + 2 :], "damaged"),
        "float.tif": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "its pixels are 32-bit"),
    }


def orientation(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    return exif


def png(pixels: np.ndarray, bits: int) -> bytes:
    """An RGB PNG file of 8 or 16 bits, which Pillow does not write."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def text_bomb() -> bytes:
    """A comment that unpacks to 200 MB before the first pixel."""
    whole = encoded(image(97), "PNG")
    packer = zlib.compressobj(9)
    text = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    return whole[:33] + chunk(b"zTXt", b"Comment\0\0" + text) + whole[33:]


def many_scans() -> bytes:
    """A progressive JPEG that refines its last coefficients two thousand times."""
    whole = encoded(image(98), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * 2000 + whole[-2:]
