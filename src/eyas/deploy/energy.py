"""Energy of an answer, from the counters that processors keep of their own consumption (RAPL, through Linux's powercap)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

POWERCAP = Path("/sys/class/powercap")
SECONDS = 2.0  # of answering: the counters move once a millisecond


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules for one image, of the whole processor and all that runs on it meanwhile; or the `reason` why nobody knows."""

    joules: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Counter:
    """One processor's energy counter, in microjoules; it starts from 0 again when it reaches `wraps_at`."""

    path: Path
    wraps_at: int

    def read(self) -> int:
        """Where it stands."""
        return int((self.path / "energy_uj").read_text())

    def since(self, before: int) -> int:
        """Microjoules since it stood at `before`, if it has wrapped around once at most (after minutes at full load)."""
        now = self.read()
        return now - before if now >= before else now + self.wraps_at - before


def counters(root: Path = POWERCAP) -> list[Counter]:
    """The counters of all processors; their parts (cores, memory) are within them.

    Raises:
        OSError: the system has some, and this user may not read them.
    """
    zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    packages = [zone for zone in zones if (zone / "name").read_text().startswith("package")]
    found = [Counter(zone, int((zone / "max_energy_range_uj").read_text())) for zone in packages]
    for counter in found:
        counter.read()
    return found


def energy(
    answer: Callable[[], Any],
    images: int,
    root: Path = POWERCAP,
    seconds: float = SECONDS,
    clock: Callable[[], float] = perf_counter,
) -> Energy:
    """Answer for some seconds, and divide what the counters moved by the images.

    Args:
        answer: gives one answer to `images` images.
        images: in an answer.
        root: where the system keeps its counters.
        seconds: for how long.
        clock: seconds.
    """
    try:
        known = counters(root)
    except OSError as error:
        return Energy(None, f"the system's energy counters cannot be read ({error.strerror}); the administrator may allow it")
    if not known:
        return Energy(None, "the system offers no energy counters (RAPL)")
    before, start, answered = [counter.read() for counter in known], clock(), 0
    while clock() - start < seconds:
        answer()
        answered += images
    spent = sum(counter.since(stood) for counter, stood in zip(known, before, strict=True))
    return Energy(spent / 1e6 / answered)
