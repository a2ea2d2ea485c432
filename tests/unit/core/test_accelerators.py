"""GPUs by name."""

from __future__ import annotations

import pytest

from jepakit.core.accelerators import ACCELERATORS, parse_gpus


@pytest.mark.parametrize(
    ("text", "number", "name"),
    [
        ("16xA100-80G", 16, "A100-80G"),
        ("16 x A100 80GB", 16, "A100-80G"),
        ("8xH200", 8, "H200"),
        ("rtx 4090", 1, "RTX4090"),
        ("4*mi300x", 4, "MI300X"),
    ],
)
def test_names_as_people_write_them(text: str, number: int, name: str) -> None:
    cluster = parse_gpus(text)
    assert (cluster.number, cluster.name) == (number, name)
    assert cluster.accelerator is ACCELERATORS[name]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("8xA100", "did you mean A100-40G or A100-80G"),
        ("8xH2O0", "did you mean H200"),
        ("3xabacus", "unknown GPU 'abacus'.*Known are A100-40G"),
        ("0xH100", "at least one GPU"),
        ("", "names no GPU"),
    ],
)
def test_others_are_refused_with_what_to_type(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_gpus(text)


def test_every_gpu_has_plausible_figures() -> None:
    for gpu in ACCELERATORS.values():
        assert 10e9 < gpu.memory < 300e9
        assert gpu.within < gpu.memory_bandwidth < gpu.peak
        assert gpu.full_peak < gpu.peak
