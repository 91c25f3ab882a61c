"""One image file to pixels, decoded to the end; what cannot be decoded is refused in plain words."""

import stat
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageFile

from eyas.data import idx

Pixels = UInt8[np.ndarray, "_height _width _channels"]

MEGAPIXELS = 100  # a larger picture is refused from its header, before memory is taken
_LARGE = 25_000_000  # pixels; above this, one at a time whatever the number of threads

# Known by their content. Formats without a signature, or whose decoder runs other programs (EPS), are left out.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".avif", ".qoi"),
)

_UPRIGHT = {  # EXIF 2.3, tag 0x0112: how the stored picture must be turned
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS_PER_SAMPLE = 258  # TIFF tag
_END_OF_CODESTREAM = b"\xff\xd9"  # JPEG 2000; its decoder takes a file that was cut behind the header for a black picture
_TRUNCATED = "truncated: the file ends before the picture does"


class Refusal(Exception):  # noqa: N818 - it is an answer about a file, not an error of the program
    """An image that cannot be used; the message is the reason, in plain words."""


def decode(source: str) -> Pixels:
    """The pixels of an image, uint8, upright: one channel for a grey image, three (RGB) for any other.

    The content decides what a file is, not its suffix. Of an animation or a document the first picture is taken.
    Transparent parts show white, as on a page: most such images are cut-outs that were made to lie on one. 16 bits
    become 8 by scaling the whole range, never by clipping.

    Raises:
        Refusal: with the reason; nothing else is raised for any file.
    """
    if source.startswith(idx.SCHEME):
        return _idx_row(source)
    with _opened(Path(source)) as file, _QUIET:
        image = _header(file)
        width, height = image.size
        if width * height > MEGAPIXELS * 1_000_000:
            raise Refusal(f"{MEGAPIXELS} megapixels at most: {width}x{height} has {width * height / 1e6:.4g}")
        with _ONE_AT_A_TIME if width * height > _LARGE else nullcontext():
            return _whole(image)


@contextmanager
def _opened(path: Path) -> Generator[IO[bytes]]:
    try:
        found = path.stat()  # before opening: a pipe would wait for ever
        if stat.S_ISDIR(found.st_mode):
            raise Refusal("a folder")
        if not stat.S_ISREG(found.st_mode):
            raise Refusal("not a regular file")
        if found.st_size == 0:
            raise Refusal("empty file")
        file = path.open("rb")
    except FileNotFoundError:
        raise Refusal("no such file: moved, a broken link, or a name that is not UTF-8") from None
    except OSError as error:
        raise Refusal(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    with file:
        yield file


def _header(file: IO[bytes]) -> ImageFile.ImageFile:
    """The image, only its header read.

    Pillow's `Image.open` does the same and then raises or warns about large pictures by its own global limit, without
    their width and height; going to its decoders leaves that setting to the user's program.
    """
    Image.init()
    prefix = _first_bytes(file)
    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory and accept and accept(prefix) is True:
            try:
                file.seek(0)
                image = factory(file, "")
            except Exception as error:  # decoders raise anything at all on a damaged header
                raise Refusal(f"damaged: it begins as {name}, but its header cannot be read ({_short(error)})") from None
            if 0 in image.size:
                raise Refusal("damaged: a picture without pixels")
            if name == "JPEG2000" and not _holds(file, _END_OF_CODESTREAM):
                raise Refusal(_TRUNCATED)
            return image
    raise Refusal("not an image")


def _first_bytes(file: IO[bytes]) -> bytes:
    try:
        return file.read(16)
    except OSError as error:
        raise Refusal(f"cannot be read: {(error.strerror or str(error)).lower()}") from None


def _holds(file: IO[bytes], mark: bytes) -> bool:
    place = file.tell()
    file.seek(0)
    found = mark in file.read()
    file.seek(place)
    return found


def _whole(image: ImageFile.ImageFile) -> Pixels:
    try:
        image.load()
        return _pixels(_upright(image), _depth(image))
    except Refusal:
        raise
    except MemoryError:
        raise Refusal(f"needs more memory than there is: {image.width}x{image.height}") from None
    except Exception as error:  # decoders raise anything at all on damaged data, and one file must not stop a run
        if isinstance(error, EOFError) or "truncated" in str(error).lower():
            raise Refusal(_TRUNCATED) from None
        raise Refusal(f"damaged: {_short(error)}") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # unreadable EXIF: the pixels are sound, and upright as far as anyone can tell
        return image
    return image if turn is None else image.transpose(turn)


def _depth(image: ImageFile.ImageFile) -> int:
    """Bits that a sample uses of the 16 it is held in; 0 where the range of the values is not known."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):  # PPM is scaled to 16 bits by its decoder
        return 0
    tags: Any = getattr(image, "tag_v2", {})
    return tags.get(_BITS_PER_SAMPLE, (16,))[0]


def _pixels(image: Image.Image, depth: int) -> Pixels:
    if depth == 0:
        raise Refusal("its pixels are 32-bit or signed numbers without a known range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_16_bits(image, 2**depth - 1)
    if image.has_transparency_data:
        return _on_white(image)
    grey = image.mode in ("1", "L")
    pixels = np.array(image.convert("L" if grey else "RGB"))
    return pixels[..., None] if grey else pixels


def _from_16_bits(image: Image.Image, top: int) -> Pixels:
    values = np.array(image).astype(np.uint32)
    if isinstance(image.info.get("transparency"), int):
        values[values == image.info["transparency"]] = top
    return ((values * 255 + top // 2) // top).astype(np.uint8)[..., None]


def _on_white(image: Image.Image) -> Pixels:
    grey = image.mode in ("1", "L", "LA", "La")
    layers = np.array(image.convert("LA" if grey else "RGBA")).astype(np.uint16)
    colour, alpha = layers[..., :-1], layers[..., -1:]
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _idx_row(source: str) -> Pixels:
    path, row = idx.split_source(source)
    try:
        images = idx.read(path)
    except OSError as error:
        raise Refusal(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except idx.IdxError as error:
        raise Refusal(f"damaged: {error}") from None
    if images.ndim != 3 or not 0 <= row < len(images):
        raise Refusal(f"the file has no image {row}")
    return images[row][..., None]


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:120] or type(error).__name__


class _Quiet:
    """Keeps Pillow's warnings about odd files from the user, who gets the refusals instead.

    `warnings.catch_warnings` is not safe in threads: the first one in sets the filter, the last one out restores it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.saved = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.saved = warnings.catch_warnings()
                self.saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b")
            self.inside += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.saved.__exit__(kind, error, trace)


_QUIET = _Quiet()
_ONE_AT_A_TIME = threading.Lock()
