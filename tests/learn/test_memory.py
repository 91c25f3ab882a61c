import gc
from pathlib import Path

import pytest
import torch
from torch import nn

from eyas.errors import UserError
from eyas.learn.memory import Peak, available

GB = 2**30


def machine(root: Path, files: dict[str, str], free: int = 8 * GB) -> Path:
    """A system with so much free memory, and `files`."""
    meminfo = f"MemTotal: 99 kB\nMemAvailable:   {free // 1024} kB\nSwapFree: 5 kB\n"
    for name, text in {"proc/meminfo": meminfo, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def group(folder: str, most: int | str, used: int, cache: int = 0) -> dict[str, str]:
    found = {"memory.max": f"{most}\n", "memory.current": f"{used}\n", "memory.stat": f"anon 5\ninactive_file {cache}\n"}
    return {f"{folder}/{name}": text for name, text in found.items()}


class TestAvailable:
    def test_of_the_machine(self, tmp_path):
        assert available(machine(tmp_path, {})) == 8 * GB

    def test_here_it_is_something(self):
        assert 2**20 < available() < 2**50

    def test_a_container_leaves_less(self, tmp_path):
        files = {"proc/self/cgroup": "0::/\n", **group("sys/fs/cgroup", 4 * GB, 3 * GB, GB // 2)}
        assert available(machine(tmp_path, files)) == 1.5 * GB

    def test_the_tightest_of_the_groups_around_counts(self, tmp_path):
        files = {"proc/self/cgroup": "0::/user/job\n"}
        files |= group("sys/fs/cgroup/user/job", "max", GB) | group("sys/fs/cgroup/user", 5 * GB, 3 * GB)
        assert available(machine(tmp_path, files)) == 2 * GB

    def test_groups_of_version_1(self, tmp_path):
        base = "sys/fs/cgroup/memory/docker/a"
        files = {
            "proc/self/cgroup": "12:cpu,cpuacct:/docker/a\n5:memory:/docker/a\n",
            f"{base}/memory.limit_in_bytes": str(4 * GB),
            f"{base}/memory.usage_in_bytes": str(GB),
            f"{base}/memory.stat": "cache 5\ntotal_inactive_file 0\n",
        }
        assert available(machine(tmp_path, files)) == 3 * GB

    def test_a_group_that_has_all_it_may_leaves_nothing(self, tmp_path):
        files = {"proc/self/cgroup": "0::/\n", **group("sys/fs/cgroup", GB, GB + 5)}
        assert available(machine(tmp_path, files)) == 0

    def test_a_system_that_does_not_say(self, tmp_path):
        with pytest.raises(UserError, match=r"give training\.batch$"):
            available(tmp_path)


class TestPeak:
    def test_counts_what_is_alive_at_once(self):
        with Peak(iter(())) as peak:
            kept = torch.ones(1000)
            for _ in range(3):
                torch.ones(500)
            assert peak.bytes == 6000
            del kept
            gc.collect()
            torch.ones(1200)
        assert peak.bytes == 6000

    def test_a_view_and_work_in_place_take_nothing(self):
        with Peak(iter(())) as peak:
            torch.ones(1000).view(10, 100)[2:].add_(1)
        assert peak.bytes == 4000

    def test_what_was_there_before_does_not_count(self):
        weight = torch.ones(1000)
        with Peak(iter([weight])) as peak:
            weight.add_(1)
            weight[:10] * 1.0
        assert peak.bytes == 40

    def test_the_backward_pass_counts(self):
        layer = nn.Linear(100, 100, bias=False)
        x = torch.ones(50, 100)
        with Peak(iter([layer.weight, x])) as peak:
            y = layer(x)
            assert peak.bytes == 4 * 50 * 100
            y.backward(torch.ones_like(y))
        assert peak.bytes >= 4 * (2 * 50 * 100 + 100 * 100)
