import numpy as np
import pytest

from eyas.deploy.ranges import OUTSIDE, spans


def seen(*images):
    """Each image's values, of a tensor called t."""
    return lambda: ({"t": np.asarray(image, np.float32)} for image in images)


def test_all_that_is_seen_on_any_image():
    assert spans(seen([1, 2], [-3, 0], [0.5]), "minmax") == {"t": (-3, 2)}


def test_a_percentile_leaves_out_the_ends():
    values = np.linspace(-1, 1, 100_001)
    low, high = spans(seen(values, values), "percentile")["t"]
    assert (low, high) == pytest.approx((-1 + OUTSIDE, 1 - OUTSIDE), abs=2e-3)
    assert np.mean((values >= low) & (values <= high)) >= 1 - OUTSIDE


def test_behind_a_relu_a_percentile_begins_at_zero():
    values = np.maximum(np.random.default_rng(0).normal(size=100_000), 0)
    low, high = spans(seen(values), "percentile")["t"]
    assert low == 0
    assert 2.5 < high < values.max()


def rounding(values, low, high):
    """The mean squared error of 256 levels from `low` to `high`, 0 among them."""
    low, high = min(low, 0), max(high, 0)
    step = (high - low) / 255
    return np.mean((np.round((values.clip(low, high) - low) / step) * step + low - values) ** 2)


def test_the_least_error_cuts_a_lone_large_value_and_nothing_where_all_values_count():
    even = np.linspace(-1, 1, 10_001)
    assert spans(seen(even), "mse")["t"] == pytest.approx((-1, 1))
    heavy = np.random.default_rng(0).laplace(size=200_000)
    low, high = spans(seen(heavy), "mse")["t"]
    assert heavy.min() < low < 0 < high < heavy.max()
    assert rounding(heavy, low, high) < 0.8 * rounding(heavy, heavy.min(), heavy.max())


@pytest.mark.parametrize("how", ["minmax", "percentile", "mse"])
@pytest.mark.parametrize("values", [(0.0, 0.0), (2.0, 2.0), (0.5, float(np.nextafter(np.float32(0.5), 1)))])
def test_what_hardly_changes_keeps_its_range(how, values):
    assert spans(seen(values), how) == {"t": values}
