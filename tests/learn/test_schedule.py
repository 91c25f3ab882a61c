import pytest

from eyas.learn.schedule import factor, peak, rate, stop
from eyas.recipe import Training


class TestWarmUpAndCosine:
    training = Training(rate=0.4, warmup=0.2)

    def test_warms_up_linearly_to_the_peak(self):
        assert [rate(step, 50, self.training) for step in range(10)] == pytest.approx([0.04 * n for n in range(1, 11)])

    def test_then_falls_by_half_a_cosine_to_nearly_nothing(self):
        after = [rate(step, 50, self.training) for step in range(10, 50)]
        assert after[0] == 0.4
        assert after[20] == pytest.approx(0.2)
        assert after[10] == pytest.approx(0.2 * (1 + 2**-0.5))
        assert after == sorted(after, reverse=True)
        assert 0 < after[-1] < 0.001
        assert rate(50, 50, self.training) == 0

    @pytest.mark.parametrize("schedule", ["cosine", "exponential", "constant"])
    @pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
    @pytest.mark.parametrize("steps", [1, 2, 7, 100])
    def test_whatever_the_lengths_it_reaches_the_peak_and_stays_above_zero(self, schedule, warmup, steps):
        training = Training(rate=0.4, warmup=warmup, schedule=schedule, epochs=4.0)
        rates = [rate(step, steps, training) for step in range(steps)]
        assert max(rates) == pytest.approx(0.4)
        assert min(rates) > 0

    def test_without_warm_up_it_starts_at_the_peak(self):
        assert rate(0, 100, Training(rate=0.4, warmup=0)) == 0.4


class TestExponential:
    def test_the_figures_of_efficientnets_code(self):
        """build_learning_rate: 5 epochs of warm-up, then 0.256 x 0.97^floor(epoch / 2.4), counted from the first step."""
        training = Training(epochs=350, rate=0.256, warmup=5 / 350, schedule="exponential")
        steps = 350 * 312  # 109,474 in the paper's runs

        def at(epoch: float) -> float:
            return rate(round(epoch * 312), steps, training)

        assert at(2.5) == pytest.approx(0.128, rel=1e-2)
        assert rate(5 * 312 - 1, steps, training) == pytest.approx(0.256)
        assert at(5) == pytest.approx(0.256 * 0.97**2)
        assert at(7.19) == pytest.approx(0.256 * 0.97**2)
        assert at(7.21) == pytest.approx(0.256 * 0.97**3)
        assert at(349.9) == pytest.approx(0.256 * 0.97**145)

    def test_a_stair_begins_with_its_first_step(self):
        training = Training(epochs=24, rate=1.0, warmup=0, schedule="exponential", decay_epochs=2.4, decay_factor=0.5)
        assert [rate(step, 10, training) for step in range(10)] == [0.5**step for step in range(10)]

    def test_a_run_that_is_made_longer_decays_as_far(self):
        training = Training(epochs=24, warmup=0, schedule="exponential")
        assert rate(99, 100, training) == rate(999, 1000, training)

    def test_noisy_students_longer_runs_have_longer_stairs(self):
        """Noisy Student, section 3.1: every 2.4 epochs of 350, or 4.8 of 700."""
        short = Training(epochs=350, schedule="exponential", decay_epochs=2.4)
        long = Training(epochs=700, schedule="exponential", decay_epochs=4.8)
        assert [rate(step, 1000, short) for step in range(1000)] == [rate(step, 1000, long) for step in range(1000)]


def test_constant_stays_at_the_peak():
    training = Training(rate=0.4, warmup=0.1, schedule="constant")
    assert [rate(step, 100, training) for step in range(9, 100)] == [0.4] * 91


class TestBatch:
    @pytest.mark.parametrize(("batch", "rate_batch", "expected"), [(32, 0, 0.256), (4096, 4096, 0.256), (256, 4096, 0.016)])
    def test_the_rate_grows_with_the_batch(self, batch, rate_batch, expected):
        """0.256 at 4,096 images is 0.016 for every 256, as EfficientNet's code has it."""
        assert peak(Training(rate=0.256, batch=batch, rate_batch=rate_batch)) == pytest.approx(expected)

    @pytest.mark.parametrize("schedule", ["cosine", "exponential", "constant"])
    def test_all_of_the_schedule_does(self, schedule):
        plain = Training(rate=0.1, batch=64, schedule=schedule)
        scaled = Training(rate=0.1, batch=64, rate_batch=32, schedule=schedule)
        for step in range(40):
            assert rate(step, 40, scaled) == pytest.approx(2 * rate(step, 40, plain))


class TestPlateau:
    training = Training(plateau=2, plateau_factor=0.1)

    @pytest.mark.parametrize(
        ("scores", "plateaus"),
        [
            ([], 0),
            ([0.5], 0),
            ([0.5, 0.6, 0.7, 0.8], 0),
            ([0.5, 0.5], 0),
            ([0.5, 0.5, 0.5], 1),
            ([0.5, 0.4, 0.6, 0.5], 0),
            ([0.5, 0.4, 0.6, 0.5, 0.6], 1),
            ([0.5, 0.4, 0.3, 0.2], 1),
            ([0.5, 0.4, 0.3, 0.2, 0.1], 2),
            ([0.5, 0.4, 0.3, 0.6, 0.7], 1),
            ([0.5, 0.4, 0.3, 0.6, 0.5, 0.5], 2),
        ],
    )
    def test_every_plateau_lowers_the_rate_for_good(self, scores, plateaus):
        assert factor(scores, self.training) == pytest.approx(0.1**plateaus)

    def test_never_unless_it_is_asked_for(self):
        assert factor([0.5] * 100, Training()) == 1


class TestStop:
    training = Training(patience=3)

    @pytest.mark.parametrize(
        ("scores", "enough"),
        [
            ([], False),
            ([0.5, 0.5, 0.5], False),
            ([0.5, 0.5, 0.5, 0.5], True),
            ([0.5, 0.4, 0.3, 0.6], False),
            ([0.5, 0.6, 0.6, 0.6], False),
            ([0.5, 0.6, 0.6, 0.6, 0.6], True),
            ([0.6, 0.1, 0.2, 0.3], True),
        ],
    )
    def test_stops_after_so_many_evaluations_without_a_better_one(self, scores, enough):
        assert stop(scores, self.training) is enough

    def test_never_unless_it_is_asked_for(self):
        assert not stop([0.5] * 100, Training())
