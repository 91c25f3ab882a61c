from eyas.deploy.measure import machine, measure
from eyas.run import plain


def test_a_latency_is_positive_and_says_how_it_was_taken(float32):
    latency = measure(float32, threads=1, repeats=12, warmup=2, batch=4)
    assert 0 < latency.median_ms <= latency.p90_ms < 1000
    assert (latency.repeats, latency.threads, latency.batch) == (12, 1, 4)
    assert latency.runtime.startswith("onnxruntime 1.")
    assert latency.processor
    assert latency.cores >= 1


def test_warm_up_is_not_timed_and_every_repeat_is_asked_the_same(float32, monkeypatch):
    asked = []
    monkeypatch.setattr(type(float32), "predictor", lambda _self, _threads: asked.append)
    measure(float32, repeats=5, warmup=3, batch=2)
    assert len(asked) == 8
    assert all(images.shape == (2, 16, 16, 3) for images in asked)
    assert all((images == asked[0]).all() for images in asked)
    assert asked[0].std() > 50


def test_the_machine_is_named(monkeypatch):
    facts = machine()
    assert facts["memory_gb"] > 0.1
    assert plain(facts) == facts
    monkeypatch.setattr("eyas.deploy.measure.version", missing)
    assert machine()["onnxruntime"] is None


def missing(name):
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)
