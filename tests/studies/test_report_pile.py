"""What the report says of how a pile was cut."""

from dataclasses import asdict

from eyas.recipe import SelfTraining
from eyas.studies.report_pile import limited

CHOSEN = {"confident": 1200, "threshold": 0.6, "far": 0}


def told(choice: SelfTraining = SelfTraining(), **chosen: object) -> str:
    return limited(CHOSEN | chosen, asdict(choice))


def test_a_given_threshold():
    assert told() == "1,200 images reach the threshold of 60.0 %."


def test_a_chosen_one():
    assert told(SelfTraining(accuracy=0.9), threshold=0.72) == (
        "1,200 images reach the threshold of 72.0 %, the smallest at which 90.0 % of the validation images that are as "
        "confident are answered rightly."
    )


def test_none_that_promises_enough():
    assert told(SelfTraining(accuracy=0.999), threshold=1.000001).startswith("There is no confidence at which 99.9 % of the")


def test_outliers():
    assert told(SelfTraining(outliers=0.01), far=31) == (
        "1,200 images reach the threshold of 60.0 %; 31 were rejected, as their energy is above that of 99.0 % of the "
        "validation images."
    )


def test_alarms():
    assert told(alarms=["no image of the pile is confident enough for the class dot"]).endswith(
        "60.0 %. Take care: no image of the pile is confident enough for the class dot."
    )
