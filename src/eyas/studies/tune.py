"""The last rung of the int8 ladder: a network trained on while it computes as eight bits would."""

from collections.abc import Callable
from dataclasses import replace

from eyas.data.batches import Examples, Part, Stream
from eyas.deploy.shipment import Shipment
from eyas.learn.device import choose
from eyas.learn.state import State
from eyas.learn.train import train
from eyas.nn.build import Network
from eyas.nn.fold import folded
from eyas.nn.rounding import layers, ranges, round_weights, rounding
from eyas.progress import work
from eyas.recipe import Augment, Flips, Training
from eyas.tasks.distill import Distill, Teachable

STEPS = 300
# Weights are nearly right already: a small rate, without decay, which would move them off their grid for nothing. Noise is
# mild, as the float network is to be met where it is asked.
GENTLE = Training(batch=32, rate=1e-4, weight_decay=0.0, ema=0.98, clip=1.0, augment=Augment(operations=0, crop=0.8))


def tuned(
    shipment: Shipment,
    task: Teachable,
    examples: Examples,
    mirrors: Callable[[Flips], str],
    seed: int = 0,
    steps: int = STEPS,
    floats: tuple[str, ...] = (),
) -> Network:
    """A network that answers under int8 rounding as that of the shipment does in float, with weights on their int8 grid.

    Weights and activations are rounded in every step, and gradients pass the rounding as if it were not there (Jacob et al.,
    1712.05877, section 3; Krishnamoorthi, 1806.08342). Normalisation is folded, so there are no statistics to drift, and the
    float network teaches by its answers to the same images.

    Args:
        shipment: with calibration images, on which the ranges are measured.
        task: what the network answers, which says how two answers are compared.
        examples: the images, those of the run's training split.
        mirrors: which mirrorings they allow, of those that are asked for.
        seed: of the order of the images and their noise.
        steps: of the optimizer.
        floats: names of layers that the file computes in floating point: they are not rounded here either.
    """
    assert isinstance(shipment.network, Network) and shipment.calibration is not None
    student, teacher = folded(shipment.network), folded(shipment.network)
    spans, device = ranges(student, shipment.calibration), replace(choose(), bfloat16=False)
    rounded = [name for name in layers(student) if name not in floats]
    training = replace(GENTLE, batch=min(GENTLE.batch, len(examples)))
    part = Part(examples, training.batch)
    stream = Stream((part,), training.augment, mirrors(training.augment.flips), shipment.resolution, seed)
    taught = Distill(task, teacher.to(device.name))
    with work("training under rounding", steps) as progress, rounding(student.to(device.name), spans, rounded):
        state = State.new(student, training, seed)
        for step in train(state, taught, stream.run(0, steps, device=device.name), training, steps, device):
            progress.at(step.number, f"loss {sum(step.losses.values()):.3f}")
        averaged = {name.replace("parametrizations.weight.original", "weight"): x for name, x in state.ema.state_dict().items()}
    student.load_state_dict(averaged)
    round_weights(student.to("cpu"), rounded)
    return student.eval()
