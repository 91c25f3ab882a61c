"""The learning rate as a pure function of the step, and what the scores so far say: a lower rate, or enough."""

import math
from collections.abc import Sequence

from eyas.recipe import Training


def peak(recipe: Training) -> float:
    """The recipe's rate, scaled linearly with the batch where it says which batch the rate is for (Goyal et al. 2017)."""
    return recipe.rate * recipe.batch / recipe.rate_batch if recipe.rate_batch else recipe.rate


def rate(step: int, steps: int, recipe: Training) -> float:
    """Learning rate of `step`, from 0, in a run of `steps`: a linear warm-up to the peak, then the recipe's schedule.

    Half a cosine begins where the warm-up ends. The exponential decay goes down in stairs and counts its epochs from the
    first step on, as in EfficientNet's code (utils.py, build_learning_rate); an epoch is `steps / recipe.epochs`, so a run
    that `min_steps` makes longer decays as far.
    """
    warm = max(1, round(steps * recipe.warmup))
    if step < warm:
        return peak(recipe) * (step + 1) / warm
    match recipe.schedule:
        case "cosine":
            return peak(recipe) * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
        case "exponential":
            # The guard is for a stair that begins exactly at this step: 7 * 2.4 / 2.4 is a little less than 7.
            stairs = math.floor(step * recipe.epochs / (steps * recipe.decay_epochs) + 1e-9)
            return peak(recipe) * recipe.decay_factor**stairs
        case "constant":
            return peak(recipe)


def factor(scores: Sequence[float], recipe: Training) -> float:
    """What the rate is multiplied with after these validation scores: `plateau_factor` for each plateau so far.

    A plateau is `recipe.plateau` evaluations in a row none of which was better than the best before; then the count begins
    again. Without any, the factor is 1.
    """
    best, waited, plateaus = -math.inf, 0, 0
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score)
        if waited == recipe.plateau and recipe.plateau:
            plateaus, waited = plateaus + 1, 0
    return recipe.plateau_factor**plateaus


def stop(scores: Sequence[float], recipe: Training) -> bool:
    """Whether the last `recipe.patience` validation scores all failed to be better than the best before them."""
    if not recipe.patience or len(scores) <= recipe.patience:
        return False
    return max(scores[-recipe.patience :]) <= max(scores[: -recipe.patience])
