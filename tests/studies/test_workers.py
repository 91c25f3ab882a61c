"""Pieces of work in several processes: what they leave, what is told of those that fail, and that none is left over."""

import os
from pathlib import Path

import pytest
import torch

from eyas.errors import UserError
from eyas.studies.workers import computing, each


def note(path: Path) -> None:
    """A job: who did it, with how many threads."""
    if path.name == "wrong":
        raise UserError("this one is wrong")
    if path.name == "killed":
        os._exit(9)
    path.write_text(f"{os.getpid()} {torch.get_num_threads()}")


class TestOne:
    def test_works_in_this_process_with_the_threads_asked_for(self, tmp_path):
        before, jobs = torch.get_num_threads(), [tmp_path / "a", tmp_path / "b"]
        with computing(before + 1):
            assert list(each(jobs, note, workers=1, threads=1)) == jobs
            assert torch.get_num_threads() == before + 1
        assert [job.read_text() for job in jobs] == [f"{os.getpid()} 1"] * 2
        assert torch.get_num_threads() == before

    def test_nothing_to_do_starts_nothing(self):
        assert list(each([], note, workers=4, threads=1)) == []


@pytest.mark.slow
class TestSeveral:
    def test_every_job_is_done_by_processes_of_their_own(self, tmp_path):
        jobs = [tmp_path / str(number) for number in range(5)]
        assert sorted(each(jobs, note, workers=2, threads=1)) == jobs
        told = {tuple(job.read_text().split()) for job in jobs}
        assert len(told) == 2 and str(os.getpid()) not in {who for who, _ in told}
        assert {threads for _, threads in told} == {"1"}

    def test_an_error_is_the_callers_and_the_others_end(self, tmp_path):
        with pytest.raises(UserError, match="this one is wrong"):
            list(each([tmp_path / "a", tmp_path / "wrong"], note, workers=2, threads=1))

    def test_a_killed_worker_is_told_in_one_sentence(self, tmp_path):
        with pytest.raises(UserError, match=r"^a worker process ended \(exit code 9\), perhaps for want of memory"):
            list(each([tmp_path / "a", tmp_path / "killed"], note, workers=2, threads=1))
