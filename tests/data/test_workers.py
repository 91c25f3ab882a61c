import threading

import torch

from eyas.data.workers import workers


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
