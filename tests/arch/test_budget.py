"""Budgets: read, written, and the reason for every refusal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.arch.budget import EXAMPLE, Budget, show
from eyas.errors import UserError

limits = st.none() | st.floats(1e-9, 1e15)
budgets = st.builds(Budget, size=limits, madds=limits, params=limits, latency=limits)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("size<=900B", Budget(size=900.0)),
        ("size<=64KB", Budget(size=64e3)),
        ("size<=2MB", Budget(size=2e6)),
        ("size<=0.5GB", Budget(size=5e8)),
        ("madds<=1000", Budget(madds=1000.0)),
        ("madds<=500K", Budget(madds=5e5)),
        ("madds<=60M", Budget(madds=60e6)),
        ("madds<=1.5G", Budget(madds=1.5e9)),
        ("params<=1.5M", Budget(params=1.5e6)),
        ("latency<=850us", Budget(latency=0.85)),
        ("latency<=10ms", Budget(latency=10.0)),
        ("latency<=2s", Budget(latency=2000.0)),
        (" latency <= 10 ms , size<= 2MB", Budget(size=2e6, latency=10.0)),
        (EXAMPLE.strip('"'), Budget(size=2e6, madds=60e6, params=1.5e6, latency=10.0)),
    ],
)
def test_reads_every_unit(text: str, limit: Budget) -> None:
    assert Budget.parse(text) == limit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size<2MB", "budget part 'size<2MB' is not WHAT<=NUMBER[UNIT]"),
        ("size<=", "budget part 'size<=' is not WHAT<=NUMBER[UNIT]"),
        ("size<=-2MB", "budget part 'size<=-2MB' is not WHAT<=NUMBER[UNIT]"),
        ("2MB", "budget part '2MB' is not WHAT<=NUMBER[UNIT]"),
        ("", "budget part '' is not WHAT<=NUMBER[UNIT]"),
        ("size<=2MB,", "budget part '' is not WHAT<=NUMBER[UNIT]"),
        ("power<=3W", "budget cannot limit 'power'; it limits size, madds, params, latency"),
        ("size<=2mb", "budget part 'size<=2mb' has the unit 'mb'; size takes B, KB, MB, GB"),
        ("size<=2", "budget part 'size<=2' has no unit; size takes B, KB, MB, GB"),
        ("latency<=3", "budget part 'latency<=3' has no unit; latency takes us, ms, s"),
        ("madds<=3MB", "budget part 'madds<=3MB' has the unit 'MB'; madds takes no unit, K, M, G"),
        ("size<=0MB", "budget part 'size<=0MB' limits nothing or everything; a limit is a number above 0"),
        (f"size<={'9' * 400}MB", "budget part 'size<=9"),
        ("size<=2MB,latency<=1s,size<=3MB", "budget limits size twice: 'size<=2MB,latency<=1s,size<=3MB'; keep one of them"),
    ],
)
def test_says_what_is_wrong_and_shows_an_example(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Budget.parse(text)
    assert str(caught.value).startswith(message)
    assert EXAMPLE in str(caught.value)


def test_the_example_is_a_budget() -> None:
    assert str(Budget.parse(EXAMPLE.strip('"'))) == EXAMPLE.strip('"')


@given(budgets.filter(lambda budget: budget != Budget()))
@settings(deadline=None)
def test_parse_reads_what_str_writes_to_the_last_digit(budget: Budget) -> None:
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    "text", ["size<=2MB", "size<=1.234567MB", "latency<=1.1us", "params<=999", "madds<=60M,latency<=0.5us"]
)
def test_str_writes_what_parse_reads(text: str) -> None:
    assert str(Budget.parse(text)) == text


@pytest.mark.parametrize(
    ("what", "value", "text"),
    [
        ("size", 1_850_000.0, "1.85MB"),
        ("size", 999.0, "999B"),
        ("size", 0.0, "0B"),
        ("madds", 60e6, "60M"),
        ("madds", 568_740_352.0, "568.7M"),
        ("params", 12.0, "12"),
        ("latency", 0.85, "850us"),
        ("latency", 10.0, "10ms"),
        ("latency", 1500.0, "1.5s"),
        ("latency", 0.0001, "0.1us"),
    ],
)
def test_shows_values_in_the_largest_unit(what: str, value: float, text: str) -> None:
    assert show(what, value) == text


class TestRefusals:
    budget = Budget.parse("size<=2MB,latency<=10ms")

    def test_name_what_was_measured_and_what_was_allowed(self) -> None:
        assert self.budget.refusals(size=2.5e6, latency=12.34567) == ["size 2.5MB is over 2MB", "latency 12.35ms is over 10ms"]

    def test_are_none_at_the_limit(self) -> None:
        assert self.budget.refusals(size=2_000_000, latency=10.0) == []
        assert self.budget.admits(size=2_000_000, latency=10.0)

    def test_pass_over_what_was_not_measured_or_not_limited(self) -> None:
        assert self.budget.admits(size=None, madds=10**12, params=10**9)
        assert Budget().admits(size=10**12, latency=1e9)

    def test_show_the_digits_that_make_the_difference(self) -> None:
        assert self.budget.refusals(size=2_000_001) == ["size 2.000001MB is over 2MB"]

    def test_cover_a_measurement_that_failed(self) -> None:
        assert not self.budget.admits(latency=float("nan"))

    @given(budgets, st.floats(0, 1e15))
    @settings(deadline=None)
    def test_are_there_exactly_when_it_does_not_admit(self, budget: Budget, value: float) -> None:
        measured = {"size": value, "madds": value, "params": value, "latency": value}
        broken = [what for what in measured if (limit := getattr(budget, what)) is not None and value > limit]
        assert [clause.split(" ")[0] for clause in budget.refusals(**measured)] == broken
        assert budget.admits(**measured) == (not broken)
