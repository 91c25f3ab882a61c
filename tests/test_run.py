"""The run directory: done once, nothing lost, and whole after a kill at any moment."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.arch.scale import wider
from eyas.arch.spec import Arch
from eyas.arch.tables import MOBILENET_V1
from eyas.errors import UserError
from eyas.progress import listening
from eyas.run import ATTIC, INPUTS, MARK, Done, Run, digest, plain, read_json, write_atomic, write_json
from tests.heard import Heard


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.open(tmp_path / "run") as opened:
        yield opened


def writes(files: dict[str, str], result: dict[str, Any] | None = None) -> Callable[[Path], dict[str, Any]]:
    """A stage that leaves `files`; the texts are its work."""

    def make(folder: Path) -> dict[str, Any]:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return result or {}

    return make


def never(folder: Path) -> dict[str, Any]:
    raise AssertionError(f"{folder} was done again")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def in_another_process(code: str, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import os, signal\nfrom pathlib import Path\nimport sys\nfrom eyas.run import *\n{code}"]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


class TestStage:
    def test_is_done_once(self, run: Run) -> None:
        first = run.stage("plan", writes({"plan.json": "1"}, {"chosen": "b0"}), seed=1)
        again = run.stage("plan", never, seed=1)
        assert again == first
        assert again.result == {"chosen": "b0"}
        assert again.folder == run.path / "plan"

    def test_gives_the_same_answer_fresh_and_kept_whatever_was_returned(self, run: Run) -> None:
        returned = {"shape": (1, 2), "path": Path("a/b"), "top1": np.float32(0.5), 3: [np.int64(4)], "arch": MOBILENET_V1}
        fresh = run.stage("plan", lambda _: returned, classes=("a", "b"))
        assert run.stage("plan", never, classes=["a", "b"]) == fresh
        assert fresh.result == {"shape": [1, 2], "path": "a/b", "top1": 0.5, "3": [4], "arch": "mobilenet_v1"}

    def test_is_done_again_for_other_inputs_and_loses_nothing(self, run: Run) -> None:
        run.stage("teacher", writes({"weights": "old"}), epochs=1)
        before = tree(run.path / "teacher")
        run.stage("teacher", writes({"weights": "new"}), epochs=2)
        assert tree(run.path / ATTIC / "1-teacher") == before
        assert (run.path / "teacher" / "weights").read_text() == "new"

    def test_moves_unfinished_work_of_other_inputs_aside(self, run: Run) -> None:
        with pytest.raises(KeyboardInterrupt):
            run.stage("teacher", interrupted_after({"half": "1"}), epochs=1)
        run.stage("teacher", writes({"weights": "new"}), epochs=2)
        assert (run.path / ATTIC / "1-teacher" / "half").read_text() == "1"
        assert not (run.path / "teacher" / "half").exists()

    def test_numbers_what_is_superseded_even_when_some_was_deleted(self, run: Run) -> None:
        for epochs in range(3):
            run.stage("teacher", writes({"weights": str(epochs)}), epochs=epochs)
        first = run.path / ATTIC / "1-teacher"
        for file in first.iterdir():
            file.unlink()
        first.rmdir()
        (run.path / ATTIC / "notes").mkdir()
        run.stage("teacher", writes({"weights": "3"}), epochs=3)
        kept = {entry.name: (entry / "weights").read_text() for entry in (run.path / ATTIC).glob("*-teacher")}
        assert kept == {"2-teacher": "1", "3-teacher": "2"}

    def test_leaves_its_siblings_alone(self, run: Run) -> None:
        run.stage("round-1/teacher", writes({"weights": "t"}), seed=1)
        run.stage("round-1/labels", writes({"labels": "l"}), seed=1)
        run.stage("round-1/labels", writes({"labels": "m"}), seed=2)
        run.stage("round-1/teacher", never, seed=1)
        assert (run.path / ATTIC / "1-round-1-labels" / "labels").read_text() == "l"

    @pytest.mark.parametrize(("first", "second"), [("round-1", "round-1/labels"), ("round-1/labels", "round-1")])
    def test_never_lies_within_another(self, run: Run, first: str, second: str) -> None:
        run.stage(first, writes({"labels": "l"}))
        before = tree(run.path)
        with pytest.raises(AssertionError, match="would share its files with the stage in"):
            run.stage(second, never)
        assert tree(run.path) == before

    @pytest.mark.parametrize("name", ["", "/plan", "../plan", "a//b", "a/", ".", "superseded", "superseded/1-plan", "a/.b"])
    def test_refuses_names_that_are_no_folder_of_its_own(self, run: Run, name: str) -> None:
        with pytest.raises(AssertionError, match="no stage can be named"):
            run.stage(name, never)

    def test_does_again_what_lost_a_result_or_a_part_of_it(self, run: Run) -> None:
        made = writes({"a": "whole", "sub/b": "whole"})
        first = run.stage("data", made, seed=1)
        for damage in (lambda file: file.unlink(), lambda file: file.write_text("who")):
            damage(first.folder / "sub" / "b")
            assert run.stage("data", made, seed=1) == first
            assert (first.folder / "sub" / "b").read_text() == "whole"
        assert not (run.path / ATTIC).exists()

    def test_counts_results_that_have_the_names_of_its_own_files(self, run: Run) -> None:
        made = writes({f"sub/{MARK}": "{}"})
        first = run.stage("data", made)
        (first.folder / "sub" / MARK).unlink()
        assert run.stage("data", made) == first
        assert (first.folder / "sub" / MARK).exists()

    def test_does_not_count_scratch(self, run: Run) -> None:
        clean = run.stage("data", writes({"a": "1"}))
        (clean.folder / MARK).unlink()
        scratch = run.stage("data", writes({"a": "1", ".cache/big": "2", ".lock": "3"}))
        assert scratch == clean
        (scratch.folder / ".cache" / "big").unlink()
        assert run.stage("data", never) == clean

    def test_digest_follows_inputs_and_files(self, run: Run) -> None:
        def done(text: str, seed: int) -> Done:
            return run.stage("data", writes({"a": text}), seed=seed)

        one, two = done("1", 1), done("1", 2)
        (run.path / "data" / MARK).unlink()
        three = done("3", 2)
        assert len({one.digest, two.digest, three.digest}) == 3

    def test_says_what_it_does(self, run: Run) -> None:
        heard = Heard()
        with listening(heard):
            run.stage("data", writes({"a": "1"}), seed=1)
            run.stage("data", never, seed=1)
            run.stage("data", writes({"a": "1"}), seed=2)
        kept, moved = heard.said
        assert kept == "data: done before, kept"
        assert moved == f"data: asked with other inputs than before; the earlier result is now in {run.path / ATTIC / '1-data'}"

    def test_moves_a_file_in_its_way_aside(self, run: Run) -> None:
        (run.path / "teacher").write_text("mine")
        run.stage("teacher", writes({"weights": "1"}))
        assert (run.path / ATTIC / "1-teacher").read_text() == "mine"

    def test_a_file_where_its_parent_should_be_is_the_users_to_move(self, run: Run) -> None:
        (run.path / "round-1").write_text("mine")
        with pytest.raises(UserError, match=r"cannot write .*round-1/labels: Not a directory; make way for it"):
            run.stage("round-1/labels", never)
        assert (run.path / "round-1").read_text() == "mine"

    @pytest.mark.parametrize("result", [float("nan"), float("inf"), np.float32("nan")])
    def test_refuses_what_json_cannot_hold(self, run: Run, result: float) -> None:
        with pytest.raises(ValueError, match=r"stage\.json cannot hold NaN or infinity"):
            run.stage("teacher", lambda _: {"loss": result})
        assert not (run.path / "teacher" / MARK).exists()


def interrupted_after(files: dict[str, str]) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        writes(files)(folder)
        raise KeyboardInterrupt

    return make


class TestKilled:
    def test_the_next_call_finds_the_unfinished_files(self, run: Run) -> None:
        with pytest.raises(KeyboardInterrupt):
            run.stage("teacher", interrupted_after({"checkpoint": "step 50", ".scratch": "1"}), seed=1)
        found: dict[str, bytes] = {}

        def go_on(folder: Path) -> dict[str, Any]:
            found.update(tree(folder))
            return {}

        run.stage("teacher", go_on, seed=1)
        assert found["checkpoint"] == b"step 50"
        assert found[".scratch"] == b"1"
        assert not (run.path / ATTIC).exists()

    def test_before_the_inputs_were_written_leaves_nothing_to_supersede(self, run: Run) -> None:
        folder = run.path / "round-1" / "labels"
        folder.mkdir(parents=True)
        (folder / f".{INPUTS}.0123.partial").write_text("{")
        run.stage("round-1/labels", writes({"labels": "1"}))
        assert not (run.path / ATTIC).exists()
        assert set(tree(folder)) == {"labels", INPUTS, MARK}

    def test_while_it_repairs_a_stage_it_does_not_count_as_done(self, run: Run) -> None:
        both = writes({"a": "1", "b": "1"})
        first = run.stage("data", both)
        (first.folder / "a").unlink()
        with pytest.raises(KeyboardInterrupt):
            run.stage("data", interrupted_after({"a": "1", "b": "x"}))  # every file there again, in its length
        assert run.stage("data", both) == first
        assert (first.folder / "b").read_text() == "1"

    @pytest.mark.parametrize("moment", ["at the start", "before a rename", "after a rename", "before the mark"])
    def test_for_good_and_started_again_gives_what_no_kill_gives(self, tmp_path: Path, moment: str) -> None:
        code = """
moment, rename = sys.argv[2], Path.replace
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def make(folder):
    if moment == "at the start": die()
    if moment == "before a rename": os.fsync = die
    if moment == "after a rename": Path.replace = lambda *paths: die(rename(*paths))
    write_atomic(folder / "a", b"a")
    write_atomic(folder / "b", b"b")
    if moment == "before the mark": die()
    return {"n": 2}
with Run.open(sys.argv[1]) as run:
    run.stage("data", make, seed=1)
"""
        killed, calm = tmp_path / "killed", tmp_path / "calm"
        assert in_another_process(code, killed, moment).returncode == -signal.SIGKILL
        assert not (killed / "data" / MARK).exists()
        for path in (killed, calm):
            again = in_another_process(code, path, "never")
            assert again.returncode == 0, again.stderr
        assert tree(killed) == tree(calm)


class TestOpen:
    def test_makes_a_directory_and_opens_it_again(self, tmp_path: Path) -> None:
        for _ in range(2):
            with Run.open(tmp_path / "deep" / "run") as run:
                assert run.path.is_dir()

    def test_refuses_a_directory_that_holds_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "photo.jpg").write_bytes(b"")
        with pytest.raises(UserError, match="is not empty and not a run of Eyas; give --out a new"), Run.open(tmp_path):
            pass
        assert tree(tmp_path) == {"photo.jpg": b""}

    @pytest.mark.parametrize("path", ["file", "file/run"])
    def test_refuses_a_place_that_cannot_be_written(self, tmp_path: Path, path: str) -> None:
        (tmp_path / "file").write_text("mine")
        with (
            pytest.raises(UserError, match=r"cannot write a run to .*; give --out a directory you may write"),
            Run.open(tmp_path / path),
        ):
            pass

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_refuses_a_place_without_permission(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(UserError, match="Permission denied"), Run.open(tmp_path / "run"):
            pass

    def test_holds_it_against_another_process_until_the_end(self, tmp_path: Path) -> None:
        code = """
try:
    with Run.open(sys.argv[1]): print("opened")
except UserError as error: print(error)
"""
        with Run.open(tmp_path):
            assert f"another process is working in {tmp_path}; wait for it" in in_another_process(code, tmp_path).stdout
        assert in_another_process(code, tmp_path).stdout == "opened\n"

    def test_a_worker_that_outlives_a_killed_run_does_not_hold_it(self, tmp_path: Path) -> None:
        code = """
import time
with Run.open(sys.argv[1]):
    worker = os.fork()
    if worker == 0:
        os.close(1), os.close(2)
        (Path(sys.argv[1]) / "started").touch()
        time.sleep(60)
        os._exit(0)
    while not (Path(sys.argv[1]) / "started").exists(): time.sleep(0.01)
    print(worker, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
        worker = int(in_another_process(code, tmp_path).stdout)
        try:
            with Run.open(tmp_path):
                os.kill(worker, 0)  # it is still alive
        finally:
            os.kill(worker, signal.SIGKILL)


class TestWriteAtomic:
    def test_replaces_a_file_whole(self, tmp_path: Path) -> None:
        write_atomic(tmp_path / "a", b"old")
        write_atomic(tmp_path / "a", b"new")
        assert tree(tmp_path) == {"a": b"new"}

    def test_gives_the_permissions_of_any_new_file(self, tmp_path: Path) -> None:
        write_atomic(tmp_path / "a", b"")
        (tmp_path / "b").touch()
        assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode

    @pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_leaves_what_was_there_and_no_debris(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
    ) -> None:
        write_atomic(tmp_path / "a", b"old")

        def fail(_: int) -> None:
            raise failure

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises((UserError, KeyboardInterrupt)) as caught:
            write_atomic(tmp_path / "a", b"new")
        monkeypatch.undo()
        assert tree(tmp_path) == {"a": b"old"}
        assert isinstance(failure, KeyboardInterrupt) or "a: No space left on device; mend that" in str(caught.value)

    @pytest.mark.parametrize("path", ["folder", "file/a", "missing/a"])
    def test_says_where_it_cannot_write(self, tmp_path: Path, path: str) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match=f"cannot write {tmp_path / path}: "):
            write_atomic(tmp_path / path, b"")
        assert tree(tmp_path) == {"file": b""}


class TestJson:
    def test_reads_what_it_wrote(self, tmp_path: Path) -> None:
        value = {"größe": [1, 2.5, None, True], "undecodable \udcff": "x"}
        write_json(tmp_path / "a.json", value)
        assert read_json(tmp_path / "a.json") == value

    def test_refuses_nan_and_writes_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="NaN"):
            write_json(tmp_path / "a.json", {"loss": float("nan")})
        assert tree(tmp_path) == {}

    def test_says_what_is_missing_or_damaged(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=f"a.json is not there: is {tmp_path} a finished run of Eyas"):
            read_json(tmp_path / "a.json")
        for content in (b'{"a": ', b"\xff\xfe\x00"):
            (tmp_path / "a.json").write_bytes(content)
            with pytest.raises(UserError, match=r"a\.json cannot be read: "):
                read_json(tmp_path / "a.json")


@dataclass(frozen=True)
class Candidate:
    arch: Arch
    seconds: float


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


class TestDigest:
    @given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
    @settings(deadline=None, max_examples=50)
    def test_does_not_depend_on_the_order_of_keys(self, value: dict[str, Any]) -> None:
        assert digest(dict(reversed(value.items()))) == digest(value)

    @given(json_values)
    @settings(deadline=None, max_examples=50)
    def test_is_of_what_json_keeps(self, value: Any) -> None:
        assert plain(plain(value)) == plain(value) == value

    def test_tells_architectures_apart_inside_other_values(self) -> None:
        thin, wide = (Candidate(wider(MOBILENET_V1, width), 1.0) for width in (0.5, 0.500001))
        assert plain(thin) == {"arch": "mobilenet_v1x0.5", "seconds": 1.0}
        assert digest(thin) != digest(wide)

    def test_is_the_same_in_another_process(self) -> None:
        value = {"b": [1, 2.5, "x"], "a": {"path": "p/q", "none": None}, "arch": "mobilenet_v1"}
        code = "print(digest({'arch': 'mobilenet_v1', 'a': {'none': None, 'path': Path('p/q')}, 'b': (1, 2.5, 'x')}))"
        assert in_another_process(code).stdout.strip() == digest(value)

    @pytest.mark.parametrize("value", [{"a", "b"}, object(), b"bytes", len])
    def test_refuses_what_has_no_lasting_text(self, value: object) -> None:
        with pytest.raises(TypeError, match=f"a run cannot keep a {type(value).__name__} as JSON"):
            digest({"value": value})

    def test_refuses_nan(self) -> None:
        with pytest.raises(ValueError):
            digest(float("nan"))
