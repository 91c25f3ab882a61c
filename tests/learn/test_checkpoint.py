import pytest
import torch

from eyas.errors import UserError
from eyas.learn.checkpoint import Checkpoints
from eyas.learn.state import State
from eyas.progress import listening
from eyas.recipe import Training
from tests.fakes import tiny


def state_at(step: int) -> State:
    state = State.new(tiny(seed=step), Training(), seed=0)
    state.step = step
    return state


def same(first: State, second: State) -> bool:
    pairs = zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    return first.step == second.step and all(torch.equal(a, b) for a, b in pairs)


class Ear:
    """Hears what is said."""

    def __init__(self):
        self.told = []

    def begin(self, label, total): ...
    def advance(self, label, done, note): ...
    def end(self, label): ...
    def say(self, text):
        self.told.append(text)


@pytest.fixture
def ear():
    found = Ear()
    with listening(found):
        yield found


@pytest.fixture
def three(tmp_path):
    """The folder after checkpoints at steps 5, 10 and 15."""
    kept = Checkpoints(tmp_path)
    for step in (5, 10, 15):
        kept.save(state_at(step))
    return kept


def test_the_last_two_are_kept(three):
    assert [file.name[:21] for file in three.files()] == [".checkpoint-000000015", ".checkpoint-000000010"]


def test_the_newest_comes_back(three, ear):
    state = state_at(0)
    three.restore(state)
    assert same(state, state_at(15))
    assert ear.told == []


def test_without_one_nothing_changes(tmp_path):
    for folder in (tmp_path, tmp_path / "not-there"):
        state = state_at(0)
        Checkpoints(folder).restore(state)
        assert same(state, state_at(0))


def flipped(content: bytes) -> bytes:
    """One bit of a weight: the file is a sound one of its kind."""
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [flipped, lambda content: content[:100], lambda _: b""], ids=["one bit", "cut", "empty"])
def test_a_damaged_newest_falls_back_to_the_one_before(three, ear, damage):
    newest, before = three.files()
    newest.write_bytes(damage(newest.read_bytes()))
    state = state_at(0)
    three.restore(state)
    assert same(state, state_at(10))
    assert ear.told == [f"checkpoint {newest} is damaged (its bytes are not those that were written); going on from step 10"]
    assert three.files() == [before]  # so the next two are kept, and not it


def test_two_damaged_ones_begin_again(three, ear):
    for file in three.files():
        file.write_bytes(flipped(file.read_bytes()))
    state = state_at(0)
    three.restore(state)
    assert same(state, state_at(0))
    assert ear.told[1].endswith("going on from the beginning")
    assert three.files() == []


def test_a_failed_write_leaves_the_earlier_ones(three, monkeypatch):
    before = {file: file.read_bytes() for file in three.files()}

    def full(descriptor):  # noqa: ARG001 (the form of fsync)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eyas.run.os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        three.save(state_at(20))
    assert {file: file.read_bytes() for file in three.folder.iterdir()} == before


def test_over(three):
    (three.folder / "log.jsonl").touch()
    three.clear()
    assert [entry.name for entry in three.folder.iterdir()] == ["log.jsonl"]
