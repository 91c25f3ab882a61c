"""One image file to pixels, decoded to the end; what cannot be decoded is refused in plain words."""

import threading
import warnings
from contextlib import nullcontext, suppress
from io import SEEK_END, BufferedIOBase
from types import TracebackType
from typing import IO, Any, cast

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageFile

from eyas.data import jpeg
from eyas.data.sources import Refusal, opened

Pixels = UInt8[np.ndarray, "_height _width _channels"]

MEGAPIXELS = 100  # a larger picture is refused from its header, before memory is taken
_JPEG_BYTES = 64_000_000  # a longer file is not read into memory whole, but piece by piece by Pillow
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
_SIDEWAYS = {_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}
_GREY = ("1", "L", "LA", "La")
_BITS_PER_SAMPLE = 258  # TIFF tag
_END_OF_CODESTREAM = b"\xff\xd9"  # JPEG 2000; its decoder takes a file that was cut behind the header for a black picture
_TRUNCATED = "truncated: the file ends before the picture does"


def decode(source: str) -> Pixels:
    """The pixels of an image, uint8, upright: one channel for a grey image, three (RGB) for any other.

    The content decides what a file is, not its suffix. Of an animation or a document the first picture is taken.
    Transparent parts show white, as on a page: most such images are cut-outs that were made to lie on one. 16 bits
    become 8 by scaling the whole range, never by clipping.

    Raises:
        Refusal: with the reason; nothing else is raised for any file.
    """
    with opened(source) as file:
        found = _plain_jpeg(file)
        if found:
            with suppress(ValueError):  # not sound to its last byte: Pillow says what is wrong with it
                return jpeg.decode(found[0], found[1][2])
        with _QUIET:
            image = _header(file)
            with _ONE_AT_A_TIME if image.width * image.height > _LARGE else nullcontext():
                return _whole(image, file)


def size(source: str) -> tuple[int, int, int]:
    """Height, width and channels of what `decode` returns, from the header alone: the image may be damaged behind it.

    Raises:
        Refusal: the header is not sound, or no picture can be read from there.
    """
    with opened(source) as file:
        found = _plain_jpeg(file)
        if found:
            height, width, grey = found[1]
            return height, width, 1 if grey else 3
        with _QUIET:
            image = _header(file)
            height, width = (image.width, image.height) if _turn(image) in _SIDEWAYS else (image.height, image.width)
            return height, width, 1 if image.mode in _GREY or image.mode.startswith("I") else 3


def _plain_jpeg(file: BufferedIOBase) -> tuple[bytes, tuple[int, int, bool]] | None:
    """The content of a JPEG that is upright and not large, and what `jpeg.plain` says of it; Pillow takes longer for a header.

    None for anything else, with the file at its beginning again.
    """
    begins = _first_bytes(file).startswith(jpeg.START)
    length = file.seek(0, SEEK_END)
    file.seek(0)
    if not begins or length > _JPEG_BYTES:
        return None
    content = _first_bytes(file, length)  # no more is asked for than is there: room is made for it first
    file.seek(0)
    told = jpeg.plain(content)
    return (content, told) if told and told[0] * told[1] <= _LARGE else None


def _header(file: BufferedIOBase) -> ImageFile.ImageFile:
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
                image = factory(cast(IO[bytes], file), "")
            except Exception as error:  # decoders raise anything at all on a damaged header
                raise Refusal(f"damaged: it begins as {name}, but its header cannot be read ({_short(error)})") from None
            if 0 in image.size:
                raise Refusal("damaged: a picture without pixels")
            if name == "JPEG2000" and not _holds(file, _END_OF_CODESTREAM):
                raise Refusal(_TRUNCATED)
            if image.width * image.height > MEGAPIXELS * 1_000_000:
                count = image.width * image.height / 1e6
                raise Refusal(f"{MEGAPIXELS} megapixels at most: {image.width}x{image.height} has {count:.4g}")
            return image
    raise Refusal("not an image")


def _first_bytes(file: BufferedIOBase, count: int = 16) -> bytes:
    try:
        return file.read(count)
    except OSError as error:
        raise Refusal(f"cannot be read: {(error.strerror or str(error)).lower()}") from None


def _holds(file: BufferedIOBase, mark: bytes) -> bool:
    place = file.tell()
    file.seek(0)
    found = mark in file.read()
    file.seek(place)
    return found


def _whole(image: ImageFile.ImageFile, file: BufferedIOBase) -> Pixels:
    try:
        pixels = _sound_jpeg(image, file)
        if pixels is None:
            image.load()
            return _pixels(_upright(image, image), _depth(image))
        return pixels
    except Refusal:
        raise
    except MemoryError:
        raise Refusal(f"needs more memory than there is: {image.width}x{image.height}") from None
    except Exception as error:  # decoders raise anything at all on damaged data, and one file must not stop a run
        if isinstance(error, EOFError) or "truncated" in str(error).lower():
            raise Refusal(_TRUNCATED) from None
        raise Refusal(f"damaged: {_short(error)}") from None


def _sound_jpeg(image: ImageFile.ImageFile, file: BufferedIOBase) -> Pixels | None:
    """The pixels of a grey or colour JPEG without a flaw; None for any other file: what to make of it is Pillow's to say."""
    if image.format not in ("JPEG", "MPO") or image.mode not in ("L", "RGB"):
        return None
    place = file.tell()
    length = file.seek(0, SEEK_END)
    file.seek(0)
    content = file.read(min(length, _JPEG_BYTES + 1))  # no more is asked for than is there: room is made for it first
    file.seek(place)
    if jpeg.too_many_scans(content):
        raise Refusal(f"damaged: a JPEG of more than {jpeg.SCANS} scans, which would take minutes to decode")
    if len(content) > _JPEG_BYTES:
        return None
    try:
        pixels = jpeg.decode(content, image.mode == "L")
    except ValueError:
        return None
    if pixels.shape[:2] != (image.height, image.width):
        return None
    if _turn(image) is None:
        return pixels
    upright = np.array(_upright(Image.fromarray(pixels[..., 0] if image.mode == "L" else pixels), image))
    return upright.reshape(*upright.shape[:2], -1)


def _upright(picture: Image.Image, header: Image.Image) -> Image.Image:
    turn = _turn(header)
    return picture if turn is None else picture.transpose(turn)


def _turn(header: Image.Image) -> Image.Transpose | None:
    try:
        return _UPRIGHT.get(header.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # unreadable EXIF: the pixels are sound, and upright as far as anyone can tell
        return None


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
    grey = image.mode in _GREY
    pixels = np.array(image.convert("L" if grey else "RGB"))
    return pixels[..., None] if grey else pixels


def _from_16_bits(image: Image.Image, top: int) -> Pixels:
    values = np.array(image).astype(np.uint32)
    if isinstance(image.info.get("transparency"), int):
        values[values == image.info["transparency"]] = top
    return ((values * 255 + top // 2) // top).astype(np.uint8)[..., None]


def _on_white(image: Image.Image) -> Pixels:
    grey = image.mode in _GREY
    layers = np.array(image.convert("LA" if grey else "RGBA")).astype(np.uint16)
    colour, alpha = layers[..., :-1], layers[..., -1:]
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


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
