"""How much memory is free, and how much a piece of work takes at its peak."""

import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode  # the documented way to see every operation
from torch.utils._pytree import tree_leaves

from eyas.errors import UserError


def available(root: Path = Path("/")) -> int:
    """Bytes that this process can still take: of the machine, and of the control groups (containers) that it is in.

    Raises:
        UserError: the system does not say.
    """
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    if not found:
        raise UserError("this system does not say how much memory is free, so no batch can be found; give training.batch")
    return max(0, min([int(found[1]) * 1024, *_group_limits(root)]))


def _group_limits(root: Path) -> Iterator[int]:
    """What each control group, version 2 or 1, leaves; files in memory only as a cache can be dropped, so they are free."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            base, limit, used, cache = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, cache = root / "sys/fs/cgroup/memory", "total_inactive_file"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        inner = base / place.lstrip("/")
        for folder in (inner, *inner.parents[: len(inner.relative_to(base).parts)], base):
            try:
                most = (folder / limit).read_text().strip()
                stat = dict(row.split() for row in (folder / "memory.stat").read_text().splitlines())
                if most != "max":
                    yield int(most) - int((folder / used).read_text()) + int(stat.get(cache, 0))
            except OSError:  # a group without limits, or above what a container sees
                continue


class Peak(TorchDispatchMode):
    """Counts, inside, the bytes of the tensors that operations make and that are alive at once, forward and backward.

    It sees tensors on whatever device, but not what a kernel takes for itself while it runs.

    Attributes:
        bytes: the most so far.
    """

    def __init__(self, known: Iterator[Tensor]) -> None:
        """`known` are tensors from before, which do not count."""
        super().__init__()
        self.bytes = 0
        self._now = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it makes."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self._now += storage.nbytes()
        self.bytes = max(self.bytes, self._now)
        weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, storage: int, size: int) -> None:
        self._known.discard(storage)
        self._now -= size
