"""What is asked of a cluster: times as SLURM writes them, and what fits together."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from jepakit.launch.slurm_settings import SlurmSettings, minutes_in


@pytest.mark.parametrize(
    ("time", "minutes"),
    [
        *(("90", 90), ("90:00", 90), ("90:01", 91), ("1:30:00", 90), ("4300", 4300)),
        *(("2-12", 3600), ("2-12:30", 3630), ("2-12:00:01", 3601), ("1-00:00:00", 1440)),
    ],
)
def test_times_are_read_as_slurm_does(time: str, minutes: int) -> None:
    assert minutes_in(time) == minutes
    assert SlurmSettings(time=time).minutes == minutes


@pytest.mark.parametrize("time", ["soon", "", "1h", "-5", "1:2:3:4", "0"])
def test_other_times_are_refused(time: str) -> None:
    with pytest.raises(ValueError, match="write minutes"):
        minutes_in(time)


@pytest.mark.parametrize(
    ("settings", "per_node", "in_all"),
    [
        ({}, 1, 1),
        ({"nodes": 2, "gpus_per_node": 8}, 8, 16),
        ({"nodes": 2, "tasks_per_node": 3}, 3, 6),
        ({"gpus_per_node": 0}, 1, 1),
        ({"gpus_per_node": 0, "tasks_per_node": 4}, 4, 4),
        ({"gpus_per_node": 8, "tasks_per_node": 4}, 4, 4),
    ],
)
def test_a_process_per_gpu_unless_told(
    settings: dict[str, int], per_node: int, in_all: int
) -> None:
    asked = SlurmSettings.model_validate(settings)
    assert (asked.processes_per_node, asked.num_processes) == (per_node, in_all)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"gpus_per_node": 2, "tasks_per_node": 4}, "4 processes cannot share gpus_per_node=2"),
        ({"gpus_per_node": 0, "device": "cuda"}, "leave gpus_per_node=0 out"),
        ({"memory": "1G", "memory_per_gpu": "1G"}, "not both"),
    ],
)
def test_what_does_not_fit_together_is_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        SlurmSettings.model_validate(settings)
