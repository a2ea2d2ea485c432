"""Devices by name, and what is chosen where nothing is said."""

from __future__ import annotations

import pytest
import torch

from jepakit.core import devices
from jepakit.core.devices import (
    choose_device,
    choose_precision,
    cpu_multiplies_bf16,
    free_memory,
    peak_memory,
    synchronise,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def without_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_auto_takes_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    without_accelerators(monkeypatch)
    assert choose_device() == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert choose_device("auto") == torch.device("cuda", 1)


def test_a_number_is_a_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("1") == torch.device("cuda", 1)
    with pytest.raises(
        ValueError, match="device 2 does not exist: this machine has cuda:0, cuda:1, and cpu"
    ):
        choose_device("2")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cuda:0", "this machine has no CUDA device"),
        ("mps", "mps does not exist here: use cpu"),
        ("gpu", "unknown device 'gpu': use cpu, mps, cuda:0"),
        ("meta", "'meta' is not supported"),
    ],
)
def test_what_is_not_there_is_refused(
    name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_accelerators(monkeypatch)
    assert choose_device("cpu") == CPU
    with pytest.raises(ValueError, match=told):
        choose_device(name)


def test_precision_is_bf16_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, chosen in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(devices, "cpu_multiplies_bf16", lambda answer=answer: answer)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation, answer=answer: answer
        )
        assert choose_precision(CPU, "auto") == chosen
        assert choose_precision(CUDA, "auto") == chosen
        assert choose_precision(torch.device("mps"), "auto") == "fp32"
    assert choose_precision(CPU, "bf16") == "bf16"
    assert choose_precision(CUDA, "fp32") == "fp32"


@pytest.mark.parametrize("name", ["amx_bf16", "avx512_bf16"])
def test_matrix_instructions_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, name: False})
    assert not cpu_multiplies_bf16()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True})
    assert cpu_multiplies_bf16()


def test_memory_is_measured_in_bytes() -> None:
    assert free_memory(CPU) > 2**20
    before = peak_memory(CPU)
    kept = torch.ones(2**24)
    assert peak_memory(CPU) >= before > 2**25  # python and torch alone take more
    assert kept.sum() == 2**24
    synchronise(CPU)
