import pytest

from eyas.deploy.energy import counters, energy


def zone(root, name, kind, value, limit=262_000_000_000):
    folder = root / name
    folder.mkdir(parents=True)
    for file, content in (("name", kind), ("energy_uj", value), ("max_energy_range_uj", limit)):
        (folder / file).write_text(f"{content}\n")
    return folder


def spending(folder, microjoules):
    """Answers that move the counter, and wrap it around."""

    def answer():
        limit = int((folder / "max_energy_range_uj").read_text())
        (folder / "energy_uj").write_text(f"{(int((folder / 'energy_uj').read_text()) + microjoules) % limit}\n")

    return answer


def ticking(step=0.1):
    now = [0.0]

    def clock():
        now[0] += step
        return now[0]

    return clock


def test_energy_of_an_image_is_what_the_counter_moved(tmp_path):
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 1000)
    found = energy(spending(folder, 80_000), images=4, root=tmp_path, seconds=1, clock=ticking())
    assert found.joules == pytest.approx(0.02)
    assert found.reason is None


def test_a_counter_that_wraps_around_goes_on(tmp_path):
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 990_000, limit=1_000_000)
    found = energy(spending(folder, 3_000), images=1, root=tmp_path, seconds=1, clock=ticking())
    assert int((folder / "energy_uj").read_text()) < 990_000
    assert found.joules == pytest.approx(0.003)


def test_parts_of_a_processor_are_not_counted_twice(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    zone(tmp_path, "intel-rapl:0:0", "core", 3)
    zone(tmp_path, "intel-rapl:1", "package-1", 7)
    zone(tmp_path, "intel-rapl:2", "psys", 9)
    assert [counter.read() for counter in counters(tmp_path)] == [5, 7]


def test_a_system_without_counters_says_so_and_nothing_is_asked(tmp_path):
    asked = []
    found = energy(lambda: asked.append(1), 1, root=tmp_path)
    assert (found.joules, asked) == (None, [])
    assert found.reason == "the system offers no energy counters (RAPL)"


def test_counters_that_may_not_be_read_say_so(tmp_path):
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    (folder / "energy_uj").unlink()
    (folder / "energy_uj").mkdir()  # unreadable to every user, the administrator too
    found = energy(lambda: None, 1, root=tmp_path)
    assert found.joules is None
    assert "cannot be read" in found.reason
