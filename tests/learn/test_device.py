import pytest
import torch

from eyas.learn.device import Device, choose


@pytest.mark.parametrize(
    ("cuda", "gpu_units", "cpu_units", "expected"),
    [
        (True, True, False, Device("cuda", True)),
        (True, False, True, Device("cuda", False)),
        (False, True, True, Device("cpu", True)),
        (False, True, False, Device("cpu", False)),
    ],
)
def test_the_accelerator_first_and_bfloat16_where_its_own_units_are(monkeypatch, cuda, gpu_units, cpu_units, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: gpu_units)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: cpu_units)
    assert choose() == expected


@pytest.mark.parametrize(("bfloat16", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_matrix_work_inside_autocast(bfloat16, expected):
    with Device("cpu", bfloat16).autocast():
        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == expected
    assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == torch.float32
