"""Answers of the model beside this page: `python predict.py [--top K] IMAGE... | FOLDER | -` prints a line of JSON for each.

A classifier tells classes, a model of attributes the probability of each, one that embeds a vector of length 1, and a
detector boxes as left, top, right and bottom in pixels; `--draw FOLDER` draws those.

It needs numpy, Pillow (10.1 or later) and the runtime of the model, Python 3.9 or later, and nothing of Eyas: copy the
folder to the device. What cannot be read has an "error" in its line, and then the exit code is 2.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import stat
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from pathlib import Path
from typing import Any, Union

import numpy as np
from PIL import ExifTags, Image

Source = Union[str, Path, bytes, io.BufferedIOBase]  # noqa: UP007 - at run time, before Python 3.10
Ask = Callable[[np.ndarray], np.ndarray]
Look = Callable[[str], np.ndarray]
Tell = Callable[[np.ndarray, "tuple[int, int]"], "dict[str, Any]"]
Draw = Callable[[str, np.ndarray, "list[dict[str, Any]]"], None]

MEGAPIXELS = 100  # a larger picture is refused from its header, before memory is taken
SCANS = 500  # a small JPEG can ask for thousands of passes over a large picture
ROOM = 1.15  # pictures are reduced to this much more than the model sees of them, and from there to what it sees
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".avif", ".qoi"),
)
NEEDED = {  # of artifact.json, and what JSON may hold there
    **dict.fromkeys(("target", "precision", "status", "arch", "task", "file"), (str,)),
    **dict.fromkeys(("resolution", "bytes"), (int,)),
    "classes": (list,),
    "files": (dict,),
    "frame": (list, type(None)),
    "boxes": (dict, type(None)),
    "crop": (int, float),
    "threshold": (int, float, type(None)),
}
GREY = ("1", "L", "LA", "La")
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation: Image.Transpose


class Unreadable(ValueError):  # noqa: N818 - an answer about a file, not an error of the program
    """A picture that cannot be read; the message is the reason."""


class Unusable(ValueError):  # noqa: N818 - the same of a model
    """A model that cannot answer; the message is a sentence that says why, and what to do."""


def pixels(source: Source, facts: dict[str, Any]) -> np.ndarray:
    """The picture (a path, the bytes of a file, or an open one) as the model takes it: uint8 [h, w, 3]; or Unreadable."""
    return shown(decode(source), facts)


def shown(picture: np.ndarray, facts: dict[str, Any]) -> np.ndarray:
    """What the model sees of a picture uint8 [h, w, 1 or 3], as in training: reduced, its middle cut out and resized."""
    resolution, crop, frame = facts["resolution"], facts["crop"], facts["frame"]
    if frame:  # the model cuts and resizes by itself
        size, small, share = (frame[1], frame[0]), picture, 1.0
    else:
        size, small, share = (resolution, resolution), _shrunk(picture, round(resolution * max(ROOM, 1 / crop))), crop
    height, width = small.shape[:2]
    left, top = (1 - share) / 2 * width, (1 - share) / 2 * height
    image = Image.fromarray(small[..., 0] if small.shape[2] == 1 else small)
    seen = np.array(image.resize(size, Image.Resampling.BICUBIC, (left, top, width - left, height - top)))
    return np.repeat(seen[..., None], 3, 2) if seen.ndim == 2 else seen


def _shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """The picture with its short side at `side` pixels; a smaller one as it is."""
    height, width = picture.shape[:2]
    short = min(height, width)
    if short <= side:
        return picture
    columns = _reduced(picture.swapaxes(0, 1), round(width * side / short))
    return _reduced(columns.swapaxes(0, 1), round(height * side / short))


def _reduced(lines: np.ndarray, size: int) -> np.ndarray:
    """Lines uint8 [n, ...] at `size` lines: to the level what torch's antialiased bicubic makes of bytes."""
    lines = np.ascontiguousarray(lines)
    first, weights, bits = _weights(len(lines), size)
    sums = np.full((size, *lines.shape[1:]), 2**bits // 2, np.int32)
    for tap in range(weights.shape[1]):
        sums += lines[np.minimum(first + tap, len(lines) - 1)] * weights[:, tap, None, None]
    return (sums >> bits).clip(0, 255).astype(np.uint8)


@lru_cache(16)
def _weights(n: int, size: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Where each of `size` lines begins among `n`, and its weights of those, whole numbers that sum to 2**bits."""
    scale = n / size
    centres = (np.arange(size) + 0.5) * scale
    first = np.maximum((centres - 2 * scale + 0.5).astype(np.int64), 0)
    end = np.minimum((centres + 2 * scale + 0.5).astype(np.int64), n)
    at = first[:, None] + np.arange((end - first).max())
    far = np.abs(at - centres[:, None] + 0.5) / scale
    near, wide = (1.5 * far - 2.5) * far * far + 1, ((-0.5 * far + 2.5) * far - 4) * far + 2
    shares = np.where(at < end[:, None], np.where(far < 1, near, np.where(far < 2, wide, 0)), 0)
    shares /= shares.sum(1, keepdims=True)
    bits = next(bits for bits in range(22, -1, -1) if int(0.5 + shares.max() * 2**bits) < 2**15)
    return first, np.trunc(shares * 2**bits + np.copysign(0.5, shares)).astype(np.int32), bits


def decode(source: Source) -> np.ndarray:
    """The pixels of a picture, upright, uint8 [h, w, 1 or 3]; Unreadable, and nothing else, says what is wrong with it."""
    with _opened(source) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _header(file)
        try:
            if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB") and _too_many_scans(_content(file)):
                raise Unreadable(f"damaged: a JPEG of more than {SCANS} scans, which would take minutes to decode")
            image.load()
            turn = TURNS.get(_orientation(image))
            return _levels(image if turn is None else image.transpose(Image.Transpose(turn)), _depth(image))
        except Unreadable:
            raise
        except MemoryError:
            raise Unreadable(f"needs more memory than there is: {image.width}x{image.height}") from None
        except Exception as error:  # decoders raise anything at all on damaged data
            if isinstance(error, EOFError) or "truncated" in str(error).lower():
                raise Unreadable("truncated: the file ends before the picture does") from None
            raise Unreadable(f"damaged: {_short(error)}") from None


def _opened(source: Source) -> io.BufferedIOBase:
    if not isinstance(source, (str, Path, bytes)):
        return source
    try:
        if isinstance(source, bytes):
            mode, size = stat.S_IFREG, len(source)
        else:
            found = Path(source).stat()  # before opening: a pipe would wait for ever
            mode, size = found.st_mode, found.st_size
        if stat.S_ISDIR(mode):
            raise Unreadable("a folder")
        if not stat.S_ISREG(mode):
            raise Unreadable("not a regular file")
        if size == 0:
            raise Unreadable("empty file")
        return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")
    except FileNotFoundError:
        raise Unreadable("no such file: moved, a broken link, or a name that is not UTF-8") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:  # a name that holds a zero byte
        raise error if isinstance(error, Unreadable) else Unreadable(f"damaged: {error}") from None


def _header(file: Any) -> Any:
    """The image, only its header read, by Pillow's decoders: `Image.open` has a limit of its own on large pictures."""
    Image.init()
    prefix = file.read(16)
    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory and accept and accept(prefix) is True:
            try:
                file.seek(0)
                image = factory(file, "")
            except Exception as error:
                raise Unreadable(f"damaged: it begins as {name}, but its header cannot be read ({_short(error)})") from None
            if 0 in image.size:
                raise Unreadable("damaged: a picture without pixels")
            if name == "JPEG2000" and b"\xff\xd9" not in _content(file):  # its decoder takes a cut file for a black picture
                raise Unreadable("truncated: the file ends before the picture does")
            if image.width * image.height > MEGAPIXELS * 1_000_000:
                count = image.width * image.height / 1e6
                raise Unreadable(f"{MEGAPIXELS} megapixels at most: {image.width}x{image.height} has {count:.4g}")
            return image
    raise Unreadable("not an image")


def _content(file: io.BufferedIOBase) -> bytes:
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    return content


def _too_many_scans(content: bytes) -> bool:
    place, scans = 2, 0
    while content.count(b"\xff\xda") > SCANS:
        found = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]").search(content, place)  # a segment begins, or the picture ends
        if not found or found[0] == b"\xff\xd9":
            break
        scans += found[0] == b"\xff\xda"
        if scans > SCANS:
            return True
        place = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
    return False


def _orientation(image: Any) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # unreadable EXIF: upright, as far as anyone can tell
        return 1


def _depth(image: Any) -> int:
    """Bits that a sample uses of the 16 it is held in; 0 where the range of the values is not known."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        return 0
    return getattr(image, "tag_v2", {}).get(258, (16,))[0]


def _levels(image: Image.Image, depth: int) -> np.ndarray:
    """16 bits scaled to 8, transparent parts on white, and any colours as RGB."""
    if depth == 0:
        raise Unreadable("its pixels are 32-bit or signed numbers without a known range; save it with 8 or 16 bits")
    grey = image.mode in GREY
    if image.mode.startswith("I"):
        values, top = np.array(image).astype(np.uint32), 2**depth - 1
        if isinstance(image.info.get("transparency"), int):
            values[values == image.info["transparency"]] = top
        return ((values * 255 + top // 2) // top).astype(np.uint8)[..., None]
    if image.has_transparency_data:
        layers = np.array(image.convert("LA" if grey else "RGBA")).astype(np.uint16)
        colour, alpha = layers[..., :-1], layers[..., -1:]
        return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    found = np.array(image.convert("L" if grey else "RGB"))
    return found[..., None] if grey else found


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def about(folder: str | Path) -> dict[str, Any]:
    """What artifact.json in the folder says of the model; Unusable where there is none, or it is not one that Eyas wrote."""
    path = Path(folder) / "artifact.json"
    facts: Any = None
    try:
        facts = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise Unusable(f"{folder} is not an artifact: it has no artifact.json; give a folder that an export wrote") from None
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:  # refused below
        pass
    if not _sound(facts):
        raise Unusable(f"{path} is damaged, or of another version of Eyas than this; export again")
    return facts


def _sound(facts: Any) -> bool:
    """Whether these are the facts of a model, each of its type, and the model's own file among those with a checksum."""
    if not isinstance(facts, dict) or not all(name in facts and type(facts[name]) in kinds for name, kinds in NEEDED.items()):
        return False
    sizes = [facts["resolution"], *(facts["frame"] or [])]
    texts = [*facts["classes"], *facts["files"].values()]
    return (
        bool(facts["classes"])
        and facts["file"] in facts["files"]
        and all(type(text) is str for text in texts)
        and all(type(size) is int and size > 0 for size in sizes)
        and len(sizes) in (1, 3)
        and 0 < facts["crop"] <= 1
        and facts["task"] in BLANK
        and (facts["task"] == "detect") == (facts["boxes"] is not None)
    )


def family(target: str) -> str | None:
    """The key of a target's runtime in `RUNTIMES`; None where this page knows none."""
    name = target.partition("-")[0]
    return name if name in RUNTIMES else None


def open_model(folder: str | Path, threads: int = 0) -> Ask:
    """The model in the folder behind its runtime: uint8 [n, h, w, 3] to answers float32 [n, k]. 0 threads: its choice.

    Unusable, now or when it is asked: a file is missing or was changed, or the model does not answer as artifact.json says.
    """
    facts, folder = about(folder), Path(folder)
    for name, checksum in facts["files"].items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise Unusable(f"{folder / name} cannot be read ({error.strerror}); export again") from None
        if found != checksum:
            raise Unusable(f"{folder / name} was changed or cut short after its export: its checksum is another; export again")
    path, known = folder / facts["file"], family(facts["target"])
    if known is None:
        raise Unusable(f"{folder} holds weights for {facts['target']}, and no runtime that this page knows")
    package, module, runtime = RUNTIMES[known]
    try:
        run = runtime(import_module(module), path, threads, facts)
    except ImportError as error:
        raise Unusable(f"{path} needs {package}, which is not installed ({error}): pip install {package}") from None
    except Exception as error:  # runtimes raise anything at all
        raise Unusable(f"{package} cannot open {path} ({_short(error)})") from None
    shape = (*(facts["frame"] or [facts["resolution"]] * 2), 3)
    width = len(facts["classes"])
    if facts["boxes"] is not None:
        try:
            width = (4 + 1 + width) * len(_beside().default_boxes(facts["boxes"]))
        except (KeyError, TypeError, ValueError, IndexError):
            raise Unusable(f"the boxes in {folder / 'artifact.json'} are damaged; export again") from None

    def ask(images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
            raise Unusable(f"{path} takes images uint8 [n, {shape[0]}, {shape[1]}, 3], not {images.dtype} {list(images.shape)}")
        try:
            given = np.asarray(run(images), np.float32)
        except Exception as error:
            raise Unusable(f"{path} does not take the images that artifact.json tells of ({_short(error)})") from None
        if given.shape != (len(images), width):
            raise Unusable(f"{path} answers {list(given.shape)} where artifact.json tells of {width} numbers for each image")
        return given

    return ask


def _onnx(onnxruntime: Any, path: Path, threads: int, facts: dict[str, Any]) -> Ask:  # noqa: ARG001
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3  # errors only
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _openvino(openvino: Any, path: Path, threads: int, facts: dict[str, Any]) -> Ask:
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    settings["INFERENCE_PRECISION_HINT"] = "bf16" if facts["precision"] == "bfloat16" else "f32"
    model = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda images: model(images)[0]


def _litert(interpreter: Any, path: Path, threads: int, facts: dict[str, Any]) -> Ask:  # noqa: ARG001
    model = interpreter.Interpreter(str(path), num_threads=threads or None)
    model.allocate_tensors()
    asked, answered = model.get_input_details()[0]["index"], model.get_output_details()[0]["index"]

    def one(image: np.ndarray) -> np.ndarray:
        model.set_tensor(asked, image[None])
        model.invoke()
        return model.get_tensor(answered)[0]

    return lambda images: np.stack([one(image) for image in images])


def _executorch(runtime: Any, path: Path, threads: int, facts: dict[str, Any]) -> Ask:  # noqa: ARG001
    from_numpy = import_module("torch").from_numpy
    program = runtime.Runtime.get().load_program(path)  # must outlive its method; the runtime chooses its threads
    method = program.load_method("forward")

    def one(image: np.ndarray, _alive: Any = program) -> np.ndarray:
        return method.execute([from_numpy(image[None].copy())])[0].numpy()[0]

    return lambda images: np.stack([one(image) for image in images])


def _pt2(torch: Any, path: Path, threads: int, facts: dict[str, Any]) -> Ask:  # noqa: ARG001
    torch.set_num_threads(threads or torch.get_num_threads())
    model = torch.inference_mode()(torch.export.load(path).module())
    return lambda images: model(torch.from_numpy(images)).numpy()


RUNTIMES = {  # by the first word of the target: what to install, what to import, and how to open a file
    "onnx": ("onnxruntime", "onnxruntime", _onnx),
    "openvino": ("openvino", "openvino", _openvino),
    "litert": ("ai-edge-litert", "ai_edge_litert.interpreter", _litert),
    "executorch": ("executorch", "executorch.runtime", _executorch),
    "pt2": ("torch", "torch", _pt2),
}
CHOOSES = ("executorch",)  # of them, those that this page cannot give a number of threads


def files(given: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Names of files, of what is in folders, and for `-` of stdin's lines, each with why it is no picture, or None."""
    for name in given:
        lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer) if name == "-" else (name,)
        for line in filter(None, lines):
            if not _is_folder(Path(line)):
                yield line, None
                continue
            found = None
            for found in _walk(Path(line), ()):
                yield found
            if not found:
                yield line, "a folder without images"


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[tuple[str, str | None]]:
    """Images at any depth, in the order of their names, nothing hidden; links are followed."""
    try:
        names, real = sorted(each.name for each in folder.iterdir() if each.name[0] != "."), folder.resolve()
    except OSError as error:
        yield str(folder), f"cannot be listed: {(error.strerror or str(error)).lower()}"
        return
    for path in (folder / name for name in names if real not in above):  # a link to where it lies would never end
        if _is_folder(path):
            yield from _walk(path, (*above, real))
        elif path.suffix.lower() in SUFFIXES:
            yield str(path), None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def answers(
    images: Iterable[tuple[str, str | None]],
    look: Look,
    ask: Ask,
    facts: dict[str, Any],
    tell: Tell,
    batch: int = 1,
    draw: Draw | None = None,
) -> Iterator[dict[str, Any]]:
    """An answer to each of `files(...)`, in their order, as soon as `batch` are there.

    `look` decodes a picture, `tell` puts the model's numbers into words (`teller`), and `draw` is given the pictures' boxes.
    """
    names = iter(images)
    while some := list(islice(names, batch)):
        looked = [(name, *_looked(name, reason, look, facts, draw is not None)) for name, reason in some]
        seen = [each for _, each, *_ in looked if not isinstance(each, str)]
        given = iter(ask(np.stack(seen)) if seen else ())
        for name, each, size, picture in looked:
            if isinstance(each, str):
                yield {"image": name, **BLANK[facts["task"]], "error": each}
                continue
            told = tell(next(given), size)
            if draw:
                draw(name, picture, told["boxes"])
            yield {"image": name, **told, "error": None}


def check(facts: dict[str, Any], top: int, draw: object) -> None:
    """Whether a model has what was asked of it; Unusable says what it has not."""
    if top != 1 and facts["task"] != "classify":
        raise Unusable(f"--top is the number of classes that are told, and the model is for {facts['task']}; leave it out")
    if draw is not None and facts["task"] != "detect":
        raise Unusable(f"--draw draws boxes, and the model is for {facts['task']}; leave it out")


def _looked(name: str, reason: str | None, look: Look, facts: dict[str, Any], keep: bool) -> tuple[Any, tuple[int, int], Any]:
    """What the model sees of a picture, or why nothing; its width and height; and the picture where it is to be kept."""
    try:
        if reason:
            raise Unreadable(reason)
        picture = look(name)
    except Unreadable as error:
        return str(error), (0, 0), None
    return shown(picture, facts), (picture.shape[1], picture.shape[0]), picture if keep else None


BLANK: dict[str, dict[str, Any]] = {  # what is told of a picture that cannot be read, by what the model was trained for
    "classify": {"label": None, "confidence": None, "sure": None, "top": []},
    "attributes": {"attributes": {}},
    "embed": {"vector": []},
    "detect": {"boxes": []},
}


def teller(facts: dict[str, Any], top: int = 1) -> Tell:
    """What the numbers of an answer mean, for a picture of a width and height; `top` classes are told."""
    names, threshold = facts["classes"], facts["threshold"]

    def classify(row: np.ndarray, _: tuple[int, int]) -> dict[str, Any]:
        order = np.argsort(-row, kind="stable")[:top]
        best = [{"label": names[k], "confidence": round(float(row[k]), 6)} for k in order]
        return {**best[0], "sure": None if threshold is None else bool(row.max() >= threshold), "top": best}

    def attributes(row: np.ndarray, _: tuple[int, int]) -> dict[str, Any]:
        return {"attributes": {name: round(float(value), 6) for name, value in zip(names, row)}}  # noqa: B905 (Python 3.10's)

    def embed(row: np.ndarray, _: tuple[int, int]) -> dict[str, Any]:
        return {"vector": [round(float(value), 6) for value in row]}

    def detect(row: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
        boxes = _beside()
        return {"boxes": boxes.listed(boxes.decode(row, facts["boxes"]), names, threshold, size)}

    return {"classify": classify, "attributes": attributes, "embed": embed, "detect": detect}[facts["task"]]


@lru_cache(1)
def _beside() -> Any:
    """boxes.py, which goes beside this page with a detector."""
    spec = spec_from_file_location("boxes", Path(__file__).with_name("boxes.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError:
        raise Unusable(f"{spec.origin} is missing, which makes boxes of the model's answers; copy the whole folder") from None
    return module


def main() -> int:
    """The command line: 0, or 2 where something could not be read or the model cannot be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of them, or - for names on stdin")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="the likeliest classes that are told")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of the processor; 0 lets the runtime choose")
    parser.add_argument("--batch", type=int, default=1, metavar="B", help="images that are answered at once")
    parser.add_argument("--draw", metavar="FOLDER", help="where pictures with their boxes go, of a detector")
    asked, folder, failed = parser.parse_args(), Path(__file__).resolve().parent, 0
    if min(asked.top, asked.threads + 1, asked.batch) < 1:
        parser.error("--top and --batch must be 1 or above, and --threads 0 or above")
    try:
        facts = about(folder)
        if facts["status"] == "rejected":
            sys.stderr.write("predict.py: this model was rejected when it was checked, and answers all the same\n")
        if asked.threads and family(facts["target"]) in CHOOSES:
            sys.stderr.write("predict.py: the runtime of this model chooses its threads by itself; --threads changes nothing\n")
        check(facts, asked.top, asked.draw)
        ask = open_model(folder, asked.threads)
        found = files(asked.images)
        draw = _beside().drawing(asked.draw) if asked.draw else None
        for line in answers(found, decode, ask, facts, teller(facts, asked.top), asked.batch, draw):
            failed += line["error"] is not None
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
    except Unusable as error:
        sys.stderr.write(f"predict.py: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # pictures cannot be drawn
        sys.stderr.write(f"predict.py: cannot write {error.filename}: {error.strerror}\n")
        return 2
    if failed:
        sys.stderr.write(f"predict.py: could not read {failed} of the images; their lines say why\n")
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
