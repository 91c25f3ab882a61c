"""C++ is compiled once on a machine, whole or not at all, and what cannot be done is told in a sentence."""

import ctypes
import subprocess
import sys

import pytest

from eyas import compiled
from eyas.compiled import FLAGS, OPENMP, function, library
from eyas.data import pixels
from eyas.errors import UserError
from eyas.nn import kernels
from eyas.progress import listening
from tests.heard import Heard

SMALL = """
extern "C" void eyas_twice(int* value) { *value *= 2; }
"""

LOADED = """
from pathlib import Path
from eyas.places import user_cache
from eyas.nn.kernels import kernels

kernels(user_cache() / "kernels")
loaded = Path("/proc/self/maps").read_text().splitlines()
print(*{line.split()[-1] for line in loaded if "gomp" in line})
"""

needs_compiler = pytest.mark.skipif(not compiled.shutil.which("g++"), reason="no g++ here")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "small.cpp"
    path.write_text(SMALL)
    return path


def twice(made) -> int:
    value = ctypes.c_int(21)
    function(ctypes.CDLL(str(made)), "twice", ctypes.c_void_p)(ctypes.byref(value))
    return value.value


@needs_compiler
class TestCompiling:
    def test_makes_functions_of_c(self, source, tmp_path):
        assert twice(library(source, tmp_path / "kernels", "tests")) == 42

    def test_happens_once_and_anew_for_another_source_or_flags(self, source, tmp_path, monkeypatch):
        ran, really = [], compiled._compile
        monkeypatch.setattr(compiled, "_compile", lambda *given: (ran.append(1), really(*given)))
        first = library(source, tmp_path / "kernels", "tests")
        assert library(source, tmp_path / "kernels", "tests") == first
        assert len(ran) == 1
        assert library(source, tmp_path / "kernels", "tests", ("-O1",)) != first
        source.write_text(SMALL.replace("*= 2", "*= 3"))
        assert twice(library(source, tmp_path / "kernels", "tests")) == 63
        assert len(ran) == 3

    def test_happens_anew_for_another_text_that_the_source_includes(self, source, tmp_path):
        source.write_text('#include "times.h"\nextern "C" void eyas_twice(int* value) { *value *= TIMES; }\n')
        for times in (2, 3):
            (tmp_path / "times.h").write_text(f"#define TIMES {times}\n")
            assert twice(library(source, tmp_path / "kernels", "tests")) == 21 * times

    def test_asks_for_threads_only_where_they_are_used(self, source, tmp_path, monkeypatch):
        """Some compilers come without OpenMP."""
        (tmp_path / "compiler").write_text('#!/bin/sh\ncase "$*" in *openmp*|*gomp*) exit 1; esac\nexec g++ "$@"\n')
        (tmp_path / "compiler").chmod(0o755)
        monkeypatch.setenv("CXX", str(tmp_path / "compiler"))
        assert twice(library(source, tmp_path / "kernels", "tests")) == 42
        with pytest.raises(UserError, match="fails"):
            library(source, tmp_path / "kernels", "tests", (OPENMP,))

    def test_a_damaged_library_is_made_again(self, source, tmp_path):
        made = library(source, tmp_path / "kernels", "tests")
        made.unlink()
        made.write_bytes(b"half of it")
        assert twice(library(source, tmp_path / "kernels", "tests")) == 42

    def test_is_told_to_the_one_who_waits(self, source, tmp_path):
        heard = Heard()
        with listening(heard):
            for _ in range(2):
                library(source, tmp_path / "kernels", "tests")
        assert heard.said == ["kernels for tests are compiled for this machine, once"]

    def test_threads_are_torchs(self):
        """With another OpenMP library than torch's the threads of both would fight for the cores."""
        done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
        assert len(done.stdout.split()) <= 1, done.stdout

    @pytest.mark.parametrize(("path", "flags"), [(kernels.SOURCE, ()), (pixels.SOURCE, pixels.EXACT)], ids=["fused", "pixels"])
    def test_the_sources_compile_without_a_warning(self, path, flags):
        command = ["g++", *FLAGS, *flags, OPENMP, "-Wall", "-Wextra", "-Wno-maybe-uninitialized", "-Werror"]
        done = subprocess.run([*command, "-fsyntax-only", str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("compiler", "told"),
    [
        ("#!/bin/sh\necho 'small.cpp:1: too new for me' >&2; exit 1\n", "fails: small.cpp:1: too new for me"),
        ("#!/bin/sh\nfor last; do :; done; echo 'no library' > $last\n", "ELF|too short|invalid"),
        (None, "o such file or directory"),
    ],
    ids=["fails", "makes no library", "is not there"],
)
def test_what_cannot_be_compiled_is_told_in_a_sentence(source, tmp_path, monkeypatch, compiler, told):
    monkeypatch.setenv("CXX", str(tmp_path / "compiler"))
    if compiler:
        (tmp_path / "compiler").write_text(compiler)
        (tmp_path / "compiler").chmod(0o755)
    with pytest.raises(UserError, match=told) as error:
        library(source, tmp_path / "kernels", "tests")
    assert "\n" not in str(error.value)
    left = [each for each in (tmp_path / "kernels").iterdir() if each.suffix != ".so"]
    assert left == []


def test_a_machine_without_a_compiler_says_so(source, tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiled.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="no g"):
        library(source, tmp_path, "tests")
