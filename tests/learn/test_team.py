"""A team of two processes is one process with the same batches; what it computes is in `together`."""

import os
import random
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from eyas.data.batches import Part
from eyas.errors import UserError
from eyas.nn.sync_norm import SyncNorm, synchronise
from eyas.recipe import Augment
from eyas.team import Team, current, launched
from tests.fakes import colours, stream_of, tiny
from tests.learn import together

ROOT = Path(__file__).parents[2]


def launch(words: list[str], size: int = 2, **environment: str) -> list[subprocess.Popen[str]]:
    """The same command `size` times, as torchrun would start it, without the seconds that torchrun takes itself."""
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    found = []
    for rank in range(size):
        variables = os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": paths} | environment
        found.append(
            subprocess.Popen([sys.executable, *words], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    return found


def free_port() -> int:
    """Below those that the system gives to connections: one that looks for this port could be given it, and find itself."""
    while True:
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", random.randrange(20_000, 30_000)))
            return found.getsockname()[1]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("two")
    processes = launch(["-W", "error", "-m", "tests.learn.together", str(folder)])
    for process in processes:
        shown, told = process.communicate(timeout=120)
        assert (process.returncode, shown, told) == (0, "", "")
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class TestTraining:
    def test_with_synchronised_norms_is_that_of_one_process(self, two):
        """After ten steps: losses, gradients, weights, averaged weights and statistics. Adam would blow up rounding errors."""
        alone = together.trained(together.CALM, together=False)
        for name, tensor in alone.items():
            torch.testing.assert_close(two[0]["together"][name], tensor, rtol=1e-5, atol=1e-6, msg=name)
        assert abs(two[0]["apart"]["gradient 1"] / alone["gradient 1"] - 1) > 0.01  # without them it is another

    @pytest.mark.parametrize("case", ["together", "apart", "noisy"])
    def test_leaves_the_same_in_every_process_to_the_bit(self, two, case):
        assert same(two[0][case], two[1][case])

    def test_is_the_same_again_with_noise_that_each_process_draws_for_itself(self, two):
        assert same(two[0]["noisy"], two[0]["noisy again"])
        assert not torch.equal(two[0]["drawn"], two[1]["drawn"])


class TestNorm:
    def test_is_that_of_the_whole_batch(self, two):
        whole, parts = together.normalised(slice(0, 6)), [found["normalised"] for found in two]
        for name in ("y", "x gradient", "evaluated"):
            torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name], msg=name)
        for name in ("0.weight gradient", "0.bias gradient"):  # of a share each
            torch.testing.assert_close(parts[0][name] + parts[1][name], whole[name], msg=name)
        for name in ("0.running_mean", "0.running_var", "0.num_batches_tracked"):
            assert torch.equal(parts[0][name], parts[1][name])
            torch.testing.assert_close(parts[0][name], whole[name], msg=name)

    def test_keeps_names_and_values(self):
        network = tiny()
        before = network.state_dict()
        synchronise(network)
        assert any(isinstance(module, SyncNorm) for module in network.modules())
        assert same(network.state_dict(), before)


class TestAnswers:
    @pytest.mark.parametrize("count", together.COUNTS)
    def test_count_each_image_once_and_are_in_order_in_all(self, two, count):
        alone = together.given(count)
        for found in two:
            torch.testing.assert_close(found["answers"][count], alone)


class TestAgreeing:
    def test_all_have_what_the_first_made_alone(self, two):
        assert [found["agreed"] for found in two] == [["as", 0, 1]] * 2

    def test_all_have_its_refusal(self, two):
        assert [found["refused"] for found in two] == ["process 0 of 1 says so"] * 2

    def test_a_process_alone_is_a_team_of_one(self):
        assert (current(), current().first, launched()) == (Team(0, 1, 0), True, False)
        assert current().agree(lambda: "as it is") == "as it is"


class TestShares:
    @pytest.mark.parametrize("size", [2, 3, 4])
    @pytest.mark.parametrize("counts", [(12,), (12, 24), (7, 5), (1, 11), (23, 1), (5, 5, 2), (12, 0)])
    @pytest.mark.parametrize("mixed", [0.0, 0.5])
    def test_are_the_batch_of_one_process(self, size, counts, mixed):
        parts = [Part(colours(9 + count, seed=count, labelled=not number), count) for number, count in enumerate(counts)]
        choice = Augment(operations=1, crop=0.5, mixup=mixed, cutmix=mixed)
        streams = [stream_of(*parts, choice=choice)]
        streams += [replace(streams[0], team=Team(rank, size)) for rank in range(size)]
        whole, *shares = (stream.at(3) for stream in streams)
        assert {len(share) for share in shares} == {sum(counts) // size}
        for labelled in (True, False):
            of = [share.labelled == labelled for share in shares]
            rows = {int(mask.sum()) for mask in of}
            assert max(rows) - min(rows) <= len(counts) - 1
            if len(counts) < 3:
                for name in ("images", "targets"):
                    found = torch.cat([getattr(share, name)[mask] for share, mask in zip(shares, of, strict=True)])
                    assert torch.equal(found, getattr(whole, name)[whole.labelled == labelled])

    def test_know_their_rows(self):
        stream = stream_of(Part(colours(9), 7), Part(colours(9, seed=1), 5))
        for part in (0, 1):
            rows = [row for rank in range(3) for row in replace(stream, team=Team(rank, 3)).own_rows(part, 2)]
            assert rows == stream.rows(part, 2)

    def test_must_be_equal(self):
        with pytest.raises(UserError, match=r"9 images, which 2 processes cannot share equally; give training\.batch a"):
            replace(stream_of(Part(colours(9), 9)), team=Team(0, 2))
