"""The papers' recipes: their figures, and the same on the page that documents them."""

import re
from pathlib import Path

import pytest
import yaml

from eyas.cli.arguments import read
from eyas.learn.schedule import peak, rate
from eyas.presets import EFFICIENTNET, MOBILENETS, NOISY_STUDENT
from eyas.recipe import Training, from_dict
from eyas.studies.train import train

PAGE = Path(__file__).parents[1] / "docs" / "training.md"
PRESETS = {"mobilenets.yaml": MOBILENETS, "efficientnet.yaml": EFFICIENTNET, "noisy_student.yaml": NOISY_STUDENT}
FILES = dict(re.findall(r"^`(\w+\.yaml)`[^\n]*\n\n```yaml\n(.+?)```", PAGE.read_text(), re.MULTILINE | re.DOTALL))


def test_every_preset_is_documented_as_a_file() -> None:
    assert FILES.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_the_documented_file_is_the_preset(name: str) -> None:
    assert from_dict(Training, yaml.safe_load(FILES[name])) == PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_the_command_line_takes_the_file_and_changes_to_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name])
    words = ["data", "--out", "run", "--training", str(tmp_path / name), "--training.batch", "64"]
    given = read(words, "train", train, ("data",), csv=False, trains=True).training
    assert given.batch == 64
    assert peak(given) == pytest.approx(PRESETS[name].rate * 64 / PRESETS[name].batch)
    assert (given.schedule, given.augment) == ("exponential", PRESETS[name].augment)


def test_noisy_students_rate_is_efficientnets_for_every_image() -> None:
    """0.016 for every 256 images, in the code of both."""
    for preset in (EFFICIENTNET, NOISY_STUDENT):
        assert preset.rate / preset.rate_batch == pytest.approx(0.016 / 256)


def test_the_number_of_steps_is_the_papers() -> None:
    assert EFFICIENTNET.steps(1_281_167) == pytest.approx(109_474, rel=1e-3)  # train_steps of the code
    assert MOBILENETS.steps(1_281_167) == pytest.approx(5.5e6, rel=1e-2)  # the model card, on one GPU


def test_efficientnet_warms_up_for_five_epochs() -> None:
    steps = EFFICIENTNET.steps(1_281_167)
    rates = [rate(step, steps, EFFICIENTNET) for step in range(0, steps, 100)]
    assert 100 * rates.index(max(rates)) / (steps / 350) == pytest.approx(5, abs=0.4)
