import sys

import numpy as np
import pytest

from eyas.deploy.executorch import ExecuTorch
from eyas.deploy.parity import check, reference_of
from eyas.deploy.shipment import Quantization
from eyas.errors import UserError


def test_a_missing_package_names_the_extra(shipment, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "executorch", None)
    for ask in (
        lambda: ExecuTorch().build(shipment, Quantization()),
        lambda: ExecuTorch().open(tmp_path / "model.pte", 1),
        ExecuTorch().runtime,
    ):
        with pytest.raises(UserError, match=r"ExecuTorch files need .*: pip install 'eyas\[executorch\]'"):
            ask()


@pytest.mark.slow
def test_a_file_answers_as_the_network_and_a_damaged_one_is_a_sentence(network, shipment, validation, tmp_path, capfd):
    pytest.importorskip("executorch")
    files, made_with = ExecuTorch().build(shipment, Quantization())
    path = tmp_path / "model.pte"
    path.write_bytes(files["model.pte"])
    assert set(made_with) == {"torch", "executorch"}
    answer = ExecuTorch().open(path, 1)
    found = answer(validation[0][:3])
    assert found.dtype == np.float32
    assert found.shape == (3, 3)
    assert check(reference_of(network), answer, *validation).largest_gap < 1e-5
    assert capfd.readouterr() == ("", "")
    path.write_bytes(files["model.pte"][:500])
    with pytest.raises(UserError, match=r"model\.pte cannot be opened by executorch .*export again"):
        ExecuTorch().open(path, 1)
