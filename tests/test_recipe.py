"""Recipes: JSON both ways, and no silly value gets into one."""

import json
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.errors import UserError
from eyas.recipe import Augment, Round, SelfTraining, Splits, Training, from_dict, to_dict

KINDS = (Augment, Training, Round, SelfTraining, Splits)

# Values that every field of the type may take; no field of a recipe refuses these.
ANY = {float: st.floats(0.01, 0.99), int: st.integers(1, 10**6), bool: st.booleans(), str: st.text()}


def drawn(kind: type) -> dict[str, st.SearchStrategy[Any]]:
    """Values for every field of a recipe of `kind`."""

    def of(hint: Any) -> st.SearchStrategy[Any]:
        if isinstance(hint, UnionType):  # or a list of recipes, which is tested below
            return ANY[int]
        return (
            st.sampled_from(get_args(hint))
            if get_origin(hint) is Literal
            else ANY[hint]
            if hint in ANY
            else st.builds(hint, **drawn(hint))
        )

    return {name: of(hint) for name, hint in get_type_hints(kind).items()}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_json_and_back_is_the_same(kind: type, data: st.DataObject) -> None:
    allowed = st.fixed_dictionaries(drawn(kind)).filter(lambda given: not given.get("compile") == given.get("fused") == "on")
    recipe = kind(**data.draw(allowed))
    assert from_dict(kind, json.loads(json.dumps(to_dict(recipe)))) == recipe


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_out_keeps_its_default(kind: type) -> None:
    assert from_dict(kind, {}) == kind()


def test_nested_settings_are_read_as_recipes() -> None:
    assert from_dict(Training, {"batch": 8, "augment": {"flips": "both"}}) == Training(batch=8, augment=Augment(flips="both"))


def test_whole_numbers_are_read_as_the_floats_they_stand_for() -> None:
    read = from_dict(Training, {"epochs": 5})
    assert json.dumps(to_dict(read)) == json.dumps(to_dict(Training(epochs=5.0))) == json.dumps(to_dict(Training(epochs=5)))


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (SelfTraining, {"rounds": "two"}, "recipe SelfTraining.rounds is 'two'; it must be a whole number, or a list with"),
        (SelfTraining, {"rounds": [{"arc": "a"}]}, "recipe Round has no 'arc'; did you mean 'arch'?"),
        (Training, {"learning_rate": 0.1}, "recipe Training has no 'learning_rate'; did you mean 'rate'? It has epochs, "),
        (Training, {"epoch": 3}, "recipe Training has no 'epoch'; did you mean 'epochs'?"),
        (Training, {"augment": {"flip": "none"}}, "recipe Augment has no 'flip'; did you mean 'flips'?"),
        (Splits, {"": 1}, "recipe Splits has no ''; did you mean "),
        (Training, {"epochs": "20"}, "recipe Training.epochs is '20'; it must be a number"),
        (Training, {"epochs": None}, "recipe Training.epochs is None; it must be a number"),
        (Training, {"epochs": True}, "recipe Training.epochs is True; it must be a number"),
        (Training, {"batch": 1.5}, "recipe Training.batch is 1.5; it must be a whole number"),
        (SelfTraining, {"balance": 1}, "recipe SelfTraining.balance is 1; it must be true or false"),
        (Training, {"optimizer": "adam"}, "recipe Training.optimizer is 'adam'; it must be 'adamw' or 'sgd' or 'rmsprop'"),
        (Training, {"augment": "none"}, "recipe Training.augment is 'none'; it must be an object of settings"),
        (Training, {"augment": {"crop": 0}}, "recipe Augment.crop is 0.0; it must be above 0 and at most 1"),
    ],
)
def test_says_what_cannot_be_read(kind: type, data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        from_dict(kind, data)
    assert str(caught.value).startswith(message)


REFUSED = [
    (Training, "rate", (-1e-3, 0.0, float("nan"), float("inf")), "above 0"),
    (Training, "epochs", (0.0, -1.0, float("inf")), "above 0"),
    (Training, "batch", (-8,), "0 or above"),
    (Training, "rate_batch", (-1,), "0 or above"),
    (Training, "decay_epochs", (0.0, -1.0), "above 0"),
    (Training, "decay_factor", (0.0, 1.1), "above 0 and at most 1"),
    (Training, "plateau", (-1,), "0 or above"),
    (Training, "plateau_factor", (0.0, 1.1), "above 0 and at most 1"),
    (Training, "patience", (-1,), "0 or above"),
    (Training, "freeze", (-1,), "0 or above"),
    (Training, "layer_decay", (0.0, 1.1), "above 0 and at most 1"),
    (Training, "checkpoint_every", (0,), "1 or above"),
    (Training, "accumulate", (0,), "1 or above"),
    (Training, "min_steps", (-1,), "0 or above"),
    (Training, "evaluate_every", (-1,), "0 or above"),
    (Training, "weight_decay", (-0.1, float("inf")), "0 or above"),
    (Training, "clip", (-1.0,), "0 or above"),
    (Training, "warmup", (-0.1, 1.1), "from 0 to 1"),
    (Training, "class_balance", (-0.1, 1.1), "from 0 to 1"),
    (Training, "label_smoothing", (-0.1, 1.0), "at least 0 and below 1"),
    (Training, "ema", (-0.1, 1.0), "at least 0 and below 1"),
    (Training, "dropout", (-0.1, 1.0), "at least 0 and below 1"),
    (Training, "drop_path", (-0.1, 1.0), "at least 0 and below 1"),
    (Training, "small_loss", (-0.1, 1.0), "at least 0 and below 1"),
    (Training, "norm_momentum", (0.0, 1.1), "above 0 and at most 1"),
    (Augment, "operations", (-1,), "0 or above"),
    (Augment, "magnitude", (-1.0,), "0 or above"),
    (Augment, "crop", (0.0, 1.1), "above 0 and at most 1"),
    (Augment, "erase", (-0.1, 1.1), "from 0 to 1"),
    (Augment, "mixup", (-0.2, float("inf")), "0 or above"),
    (Augment, "cutmix", (-1.0,), "0 or above"),
    (SelfTraining, "threshold", (-0.1, 1.1, float("nan")), "from 0 to 1"),
    (SelfTraining, "ratio", (-1,), "0 or above"),
    (SelfTraining, "confidence", (-0.1, 1.1), "from 0 to 1"),
    (SelfTraining, "accuracy", (-0.1, 1.1), "from 0 to 1"),
    (SelfTraining, "outliers", (-0.1, 1.0), "at least 0 and below 1"),
    (SelfTraining, "per_class", (-1,), "0 or above"),
    (Training, "test_crop", (0.0, 1.1), "above 0 and at most 1"),
    (Training, "train_resolution", (0.0, 1.1), "above 0 and at most 1"),
    (Training, "fine_tune", (-1.0,), "0 or above"),
    (Round, "ratio", (-1,), "0 or above"),
    (Round, "epochs", (-1.0,), "0 or above"),
    (Splits, "validation", (0.0, 1.0, -0.2, 20.0), "above 0 and below 1"),
    (Splits, "test", (0.0, 1.0), "above 0 and below 1"),
]


@pytest.mark.parametrize(
    ("kind", "name", "value", "expected"),
    [(kind, name, value, expected) for kind, name, values, expected in REFUSED for value in values],
)
def test_refuses_silly_values(kind: type, name: str, value: float, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        kind(**{name: value})
    assert str(caught.value) == f"recipe {kind.__name__}.{name} is {value!r}; it must be {expected}"


def test_every_number_has_a_range() -> None:
    numbers = {(kind.__name__, item.name) for kind in KINDS for item in fields(kind) if item.type in (int, float)}
    assert numbers == {(kind.__name__, name) for kind, name, *_ in REFUSED}


@pytest.mark.parametrize(
    ("recipe", "allowed"),
    [
        (
            Training,
            {"min_steps": 0, "weight_decay": 0.0, "clip": 0.0, "warmup": 0.0, "ema": 0.0, "dropout": 0.0, "drop_path": 0.0},
        ),
        (Training, {"warmup": 1.0, "norm_momentum": 1.0, "batch": 1, "epochs": 0.1}),
        (Training, {"batch": 0, "rate_batch": 0, "plateau": 0, "patience": 0, "freeze": 0}),
        (Training, {"layer_decay": 1.0, "decay_factor": 1.0, "plateau_factor": 1.0}),
        (Augment, {"operations": 0, "crop": 1.0, "magnitude": 27.0, "erase": 0.0, "mixup": 0.0, "cutmix": 0.0}),
        (SelfTraining, {"threshold": 0.0, "ratio": 0}),
        (SelfTraining, {"threshold": 1.0}),
    ],
)
def test_allows_the_ends_that_turn_something_off(recipe: type, allowed: dict[str, Any]) -> None:
    made = recipe(**allowed)
    assert {name: getattr(made, name) for name in allowed} == allowed


@pytest.mark.parametrize(
    ("epochs", "min_steps", "images", "steps"),
    [(20.0, 200, 400, 250), (20.0, 300, 400, 300), (1.0, 0, 320, 10), (0.1, 0, 1, 1), (2.5, 0, 64, 5)],
)
def test_steps_follow_epochs_but_never_fall_below_the_least(epochs: float, min_steps: int, images: int, steps: int) -> None:
    assert Training(epochs=epochs, min_steps=min_steps, batch=32).steps(images) == steps


class TestRounds:
    def test_so_many_alike(self) -> None:
        assert SelfTraining(rounds=3, ratio=2).plan() == (Round(ratio=2),) * 3

    def test_json_and_back_is_the_same(self) -> None:
        choice = SelfTraining(rounds=(Round(arch="efficientnet_b0", ratio=3), Round(epochs=2.5)))
        assert from_dict(SelfTraining, json.loads(json.dumps(to_dict(choice)))) == choice

    def test_each_its_own_and_the_rest_as_the_others(self) -> None:
        """The paper's three: an L2 taught by B7, then by itself, at 14:1, 14:1 and 28:1."""
        rounds = (Round(arch="efficientnet_l2"), Round(), Round(ratio=28))
        assert [(each.arch, each.ratio) for each in SelfTraining(rounds=rounds, ratio=14).plan()] == [
            *(("efficientnet_l2", 14), ("teacher", 14), ("teacher", 28)),
        ]

    def test_ratio_0_leaves_a_round_out(self) -> None:
        assert SelfTraining(ratio=0).plan() == SelfTraining(rounds=0).plan() == ()
        assert SelfTraining(rounds=(Round(), Round(ratio=2)), ratio=0).plan() == (Round(ratio=2),)
