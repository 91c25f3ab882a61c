import threading

import torch

from eyas.data import workers as workers_module
from eyas.data.workers import threads_beside, workers
from eyas.team import Team, acting


def test_workers_compute_alone_and_leave_the_others_their_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with workers(3) as pool:
            assert {pool.submit(torch.get_num_threads).result() for _ in range(12)} == {1}
            assert torch.get_num_threads() == 2
            later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            seen: list[int] = []
            later.start()
            later.join()
            assert seen == [2]
    finally:
        torch.set_num_threads(before)


def test_a_processor_that_computes_is_left_its_cores_and_an_accelerator_gets_all(monkeypatch):
    monkeypatch.setattr(workers_module, "processors", lambda: 16)
    assert threads_beside("cpu") == 2
    assert threads_beside("cuda") == 16
    monkeypatch.setattr(workers_module, "processors", lambda: 128)
    assert threads_beside("cuda") == 16  # each holds a batch
    monkeypatch.setattr(workers_module, "processors", lambda: 16)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with acting(Team(1, 8, 1)):  # four of eight processes on this machine
        assert threads_beside("cuda") == 4
        assert threads_beside("cpu") == 2
