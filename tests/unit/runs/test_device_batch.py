"""The largest number of pictures that a device holds at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from jepakit.runs import device_batch
from jepakit.runs.device_batch import largest_that_fits

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_batch, "free_memory", lambda device: 1000)


def no_trial(count: int) -> None:
    raise AssertionError("nothing is tried on a CPU")


@pytest.mark.parametrize(
    ("per_process", "bytes_each", "expected"),
    [(64, 1.0, 64), (64, 10.0, 32), (60, 10.0, 30), (7, 100.0, 1), (64, 1e4, 1), (12, 50.0, 6)],
)
def test_on_a_cpu_the_estimate_decides(per_process: int, bytes_each: float, expected: int) -> None:
    assert largest_that_fits(per_process, bytes_each, CPU, no_trial) == expected
    assert per_process % expected == 0


def fits(limit: int, tried: list[int]) -> Callable[[int], None]:
    def trial(count: int) -> None:
        tried.append(count)
        if count > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return trial


def test_on_a_gpu_a_trial_has_the_last_word() -> None:
    tried: list[int] = []
    assert largest_that_fits(64, 30.0, CUDA, fits(8, tried)) == 8
    assert tried == [16, 8]  # the estimate, 30, tells where to begin


def test_a_gpu_too_small_for_one_picture_is_told_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"not even one picture fits.*smaller encoder"):
        largest_that_fits(4, 1.0, CUDA, fits(0, []))
