"""The sample of pictures that monitors look at: which ones, and how large."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jepakit.core.distributed import Place
from jepakit.data.sources import build_source
from jepakit.runs import pictures
from jepakit.runs.config import RunConfig
from jepakit.runs.pictures import choose_num_workers, probe_pictures
from jepakit.runs.yaml_file import apply_overrides, check
from jepakit.training.monitors import ProbePictures

WORDS = (
    *("data.source.num_pictures=40", "data.source.size=32", "data.view.size=16"),
    *("encoder.patch=8", "monitors.probe_train=6", "monitors.probe_test=5"),
    *("monitors.collapse.lidar_pictures=4", "monitors.position_collapse.num_pictures=9"),
)


def probe(*words: str) -> ProbePictures:
    config = check(RunConfig, apply_overrides({}, [*WORDS, *words]))
    return probe_pictures(config, build_source(config.data.source), None, nn.Identity())


def test_views_have_the_size_of_training_and_masks_fall_on_the_same_ones() -> None:
    pictures = probe()
    assert pictures.train_views.shape == (6, 3, 16, 16)
    assert pictures.test_views.shape == (5, 3, 16, 16)
    both = torch.cat([pictures.train_views, pictures.test_views])
    assert pictures.views_to_mask is None
    assert torch.equal(pictures.first_to_mask(9), both[:9])


def test_judged_larger_the_same_pictures_are_masked_as_training_sees_them() -> None:
    usual, pictures = probe(), probe("data.test_size=[32,24]")
    assert pictures.train_views.shape == (6, 3, 32, 24)
    assert pictures.test_views.shape == (5, 3, 32, 24)
    assert torch.equal(pictures.first_to_mask(4), usual.first_to_mask(4))
    assert torch.equal(pictures.first_to_mask(9), usual.first_to_mask(9))  # three of the test part
    assert len(pictures.first_to_mask(99)) == 9


def test_few_pictures_do() -> None:
    pictures = probe("data.test_size=32", "data.source.num_pictures=4", "monitors.probe_test=2")
    assert len(pictures.train_views) + len(pictures.test_views) == 4
    assert pictures.first_to_mask(9).shape == (4, 3, 16, 16)


@pytest.mark.parametrize(
    ("device", "words", "threads", "cores", "world_size", "expected"),
    [
        ("cpu", (), 2, 2, 1, 0),  # a worker would stand in the way
        ("cpu", (), 1, 2, 1, 1),  # a core is idle
        ("cpu", (), 1, 2, 2, 0),
        ("cpu", (), 8, 8, 1, 1),
        ("cpu", ("data.source={kind: shards, path: 'https://far/x.tar'}",), 2, 2, 1, 1),
        ("cpu", ("data.num_workers=3",), 2, 2, 1, 3),
        ("cuda", (), 2, 12, 1, 11),
        ("cuda", (), 2, 12, 4, 2),
    ],
)
def test_workers_load_where_there_is_a_core_for_them(
    device: str,
    words: tuple[str, ...],
    threads: int,
    cores: int,
    world_size: int,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(pictures, "num_cores", lambda: cores)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    config = check(RunConfig, apply_overrides({}, words))
    place = Place(0, world_size, 0)
    assert choose_num_workers(config, place, torch.device(device)) == expected
