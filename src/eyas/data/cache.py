"""Prepared images shared between runs: decoded once for every run on the same files at the same size.

An entry is a store under a name made of everything that its bytes depend on. A run that wants it gets its own hard link
to the pixels, or a copy where the cache is on another disk: a run is whole by itself, whatever becomes of the cache,
and takes no more room while both are there.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

import numpy as np
import PIL
import pyarrow as pa
import simplejpeg
import torch

from eyas.data import remote
from eyas.data.manifest import Manifest
from eyas.data.store import INDEX, PIXELS, RAW_BYTES, SCHEMA, Built, build, open_built
from eyas.errors import UserError
from eyas.progress import say
from eyas.run import PARTIAL, digest, write_atomic

VERSION = 4  # raised whenever decoding, reducing or measuring gives other values than before
_ENTRY = re.compile(r"images-[0-9a-f]{32}")
_HALF = re.compile(r"\.(images-[0-9a-f]{32})\.[0-9a-f]{32}")  # being filled, or left by a process that was killed
_LOCK = ".lock"
_WITHIN = re.compile(r"(?:idx|tar|parquet|arrow):(.*)#[^#]*", re.DOTALL)  # sources that are a part of a file

Stamps = dict[str, tuple[int, int]]


def build_or_reuse(manifest: Manifest, folder: Path, side: int, cache: Path, raw_bytes: int = RAW_BYTES) -> Built:
    """What `eyas.data.store.build` puts into `folder`, byte for byte, taken from `cache` where it is there.

    What is not there is built in `folder`, then kept in the cache too. Of two processes that want the same at once the
    second waits for the first; the lock of one that was killed is free. A cache that cannot be used costs its benefit
    and a sentence, never the run. Images behind addresses are built every time: nobody can tell whether they changed.

    Raises:
        UserError: see `build`.
    """
    before = stamps(manifest)
    if any(remote.is_address(file_of(source)) for source in manifest.column("source")):
        return build(manifest, folder, side, raw_bytes=raw_bytes)
    entry = cache / f"images-{_key(manifest, side, before, raw_bytes)}"
    with _alone(entry) as usable:
        if usable and _take(entry, folder):
            say(f"images prepared by an earlier run are used again, from {cache}")
            return open_built(folder)
        built = build(manifest, folder, side, raw_bytes=raw_bytes)
        if usable and stamps(manifest) == before:  # else some images are of files that are no more
            _keep(folder, entry)
        return built


def stamps(manifest: Manifest) -> Stamps:
    """Length and time of change, in nanoseconds, of every file of this machine that the images are in."""
    found = {}
    for file in sorted({file_of(source) for source in manifest.column("source")}):
        with suppress(OSError, ValueError):  # not there, or no name that a file can have: decoding tells
            stat = Path(file).stat()
            found[file] = (stat.st_size, stat.st_mtime_ns)
    return found


def clear_cache(folder: Path) -> int:
    """Remove prepared images from a cache; the bytes of disk that this gave back.

    Files that a run still links to give nothing back. What the cache did not make, and what another process is working
    with, stays.

    Raises:
        UserError: a file cannot be removed.
    """
    try:
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        entries = {name.removesuffix(_LOCK) for name in names} | {half[1] for half in map(_HALF.fullmatch, names) if half}
        return sum(_clear_unless_held(folder / name) for name in sorted(entries) if _ENTRY.fullmatch(name))
    except OSError as error:
        raise UserError(f"cannot clear the cache {folder}: {error.strerror or error}; remove it by hand") from None


def _clear_unless_held(entry: Path) -> int:
    held = _locked(entry, wait=False)
    if held is None:
        return 0
    with held:
        freed = _clear(entry)
        entry.with_name(entry.name + _LOCK).unlink()
        return freed


def file_of(source: str) -> str:
    """The file that an image is, or is in."""
    within = _WITHIN.fullmatch(source)
    return within[1] if within else source


def _key(manifest: Manifest, side: int, stamps: Stamps, raw_bytes: int) -> str:
    """Of all that the bytes of a store depend on. Labels and splits are none of it: new ones need no decoding."""
    versions = (VERSION, str(SCHEMA), *(module.__version__ for module in (np, PIL, pa, simplejpeg, torch)))
    return digest([manifest.column("id"), manifest.column("source"), sorted(stamps.items()), side, raw_bytes, versions])


@contextmanager
def _alone(entry: Path) -> Generator[bool]:
    """Hold an entry against other processes; False where the cache cannot be used."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        held = _locked(entry, wait=False)
        if held is None:
            say("another process prepares the same images; waiting for it")
            held = _locked(entry, wait=True)
        assert held is not None
    except OSError as error:
        say(f"the cache {entry.parent} cannot be used ({error.strerror or error}); images are prepared for this run alone")
        yield False
        return
    with held:
        yield True


def _locked(entry: Path, wait: bool) -> IO[str] | None:
    """A file whose lock the system takes back when it is closed or its process dies; None where another holds it."""
    lock = entry.with_name(entry.name + _LOCK)
    while True:
        file = lock.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock.exists() and os.path.samestat(lock.stat(), os.fstat(file.fileno())):
                return file
            file.close()  # `clear_cache` removed this one while we waited
        except BaseException as error:
            file.close()
            if isinstance(error, BlockingIOError):
                return None
            raise


def _take(entry: Path, folder: Path) -> bool:
    """Bring an entry into `folder`; False where there is none, or none that is whole."""
    try:
        open_built(entry)
        folder.mkdir(parents=True, exist_ok=True)
        _bring(entry, folder)
    except (UserError, OSError):  # `build` says what is wrong with `folder`, and makes the entry anew
        return False
    return True


def _keep(folder: Path, entry: Path) -> None:
    """Make an entry of a finished store, whole or not at all."""
    half = entry.with_name(f".{entry.name}.{uuid4().hex}")
    try:
        _clear(entry)
        half.mkdir()
        _bring(folder, half)
        half.rename(entry)
    except (UserError, OSError) as error:
        with suppress(OSError):
            _remove(half)
        say(f"the prepared images are not kept for other runs: {error}")


def _bring(store: Path, folder: Path) -> None:
    """The files of a store into another folder, the index last: with it the store is whole."""
    for name in (INDEX, PIXELS):
        (folder / name).unlink(missing_ok=True)  # to rename a link to where the same link is does nothing at all
    part = folder / f".{PIXELS}.{uuid4().hex}{PARTIAL}"
    try:
        _link(store / PIXELS, part)
        part.replace(folder / PIXELS)
    finally:
        part.unlink(missing_ok=True)
    write_atomic(folder / INDEX, (store / INDEX).read_bytes())


def _link(file: Path, to: Path) -> None:
    try:
        os.link(file, to)
    except OSError:  # another disk, one without links, or a file of another user
        shutil.copyfile(file, to)
        with to.open("rb") as copy:
            os.fsync(copy.fileno())


def _clear(entry: Path) -> int:
    """Remove an entry that this process holds, and what killed processes left of it; the bytes given back."""
    halves = [path for path in entry.parent.iterdir() if (half := _HALF.fullmatch(path.name)) and half[1] == entry.name]
    return sum(map(_remove, [*halves, entry]))


def _remove(store: Path) -> int:
    if not store.is_dir():
        return 0
    freed = 0
    for file in store.iterdir():
        stat = file.stat()
        freed += stat.st_size if stat.st_nlink == 1 else 0
        file.unlink()
    store.rmdir()
    return freed
