import json
import subprocess
import sys

import numpy as np
import pytest

from eyas.deploy.parity import check, reference_of
from eyas.deploy.pt2 import Pt2
from eyas.deploy.shipment import Quantization, Shipment
from eyas.errors import UserError

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def program(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    files, made_with = Pt2().build(Shipment(network, "tiny", COLOURS, 16, threshold=0.75), Quantization())
    path.write_bytes(files["model.pt2"])
    assert set(made_with) == {"torch"}
    return path


def test_it_answers_as_the_network_for_any_number_of_images(network, program, validation):
    answer = Pt2().open(program, 1)
    for count in (1, 3, 8):
        found = answer(validation[0][:count])
        assert found.dtype == np.float32
        assert found.shape == (count, 3)
    assert check(reference_of(network), answer, *validation).largest_gap < 1e-5


def test_torch_opens_it_without_eyas_and_finds_the_labels(program):
    text = (
        "import sys, torch, warnings; warnings.simplefilter('ignore')\n"
        "extra = {'eyas.json': ''}\n"
        "loaded = torch.export.load(sys.argv[1], extra_files=extra).module()\n"
        "answer = loaded(torch.zeros(2, 16, 16, 3, dtype=torch.uint8))\n"
        "assert not any(name.split('.')[0] == 'eyas' for name in sys.modules)\n"
        "print(extra['eyas.json'], list(answer.shape), sep='|')"
    )
    said = subprocess.run([sys.executable, "-c", text, program], capture_output=True, text=True, check=True).stdout
    labels, shape = said.strip().split("|")
    assert json.loads(json.loads(labels)["classes"]) == list(COLOURS)
    assert json.loads(labels)["threshold"] == "0.75"
    assert shape == "[2, 3]"


def test_it_says_nothing_of_where_it_was_made(program):
    assert b"/deploy/" not in program.read_bytes()


def test_the_same_network_gives_the_same_bytes(network, program):
    again, _ = Pt2().build(Shipment(network, "tiny", COLOURS, 16, threshold=0.75), Quantization())
    assert again["model.pt2"] == program.read_bytes()


@pytest.mark.parametrize("spoil", [lambda content: content[:-100], lambda content: b"PK" + content[2:3000], lambda _: b"text"])
def test_damaged_and_foreign_files_are_one_sentence(program, tmp_path, spoil):
    path = tmp_path / "model.pt2"
    path.write_bytes(spoil(program.read_bytes()))
    with pytest.raises(UserError, match=r"model\.pt2 .*export again") as raised:
        Pt2().open(path, 1)
    assert "\n" not in str(raised.value)
