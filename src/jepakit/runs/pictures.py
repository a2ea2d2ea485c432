"""The pictures of a run: its sources, their normalisation, and the sample for the monitors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from jepakit.core.distributed import Place
from jepakit.data.loader import evaluation_loader
from jepakit.data.normalization import Statistics, choose_statistics
from jepakit.data.sources import Source
from jepakit.launch.local import num_cores
from jepakit.runs.config import RunConfig
from jepakit.runs.folder import RunFolder
from jepakit.runs.keeping import open_source
from jepakit.training.monitors import ProbePictures

_FEW_THREADS = 2


def open_statistics(config: RunConfig, source: Source, folder: RunFolder) -> Statistics:
    """The run's normalisation: measured or chosen at its beginning, kept in its folder."""
    if folder.statistics.exists():
        return Statistics.model_validate_json(folder.statistics.read_text(encoding="utf-8"))
    return choose_statistics(config.data.normalization, source, config.seed)


def open_validation(config: RunConfig, source: Source) -> Source | None:
    """The held-out source, if there is one, with the same classes as the training source."""
    if config.data.validation is None:
        return None
    held_out = open_source(config.data.validation, config)
    if held_out.classes != source.classes:
        raise ValueError(
            "data.validation has other classes than data.source: "
            f"{list(held_out.classes)[:5]} … against {list(source.classes)[:5]} …"
        )
    return held_out


def probe_pictures(
    config: RunConfig, source: Source, held_out: Source | None, normaliser: nn.Module
) -> ProbePictures:
    """A fixed sample of pictures for the monitors: the same in every process and after resuming."""
    sizes = (config.monitors.probe_train, config.monitors.probe_test)
    order = source.some(sum(sizes), config.seed, "probe").tolist()
    if held_out is None:
        num_test = sizes[1] if len(order) == sum(sizes) else min(sizes[1], len(order) // 2)
        num_train = min(sizes[0], len(order) - num_test)
        test_source, test = source, order[num_train : num_train + num_test]
    else:
        num_train = min(sizes[0], len(order))
        test_source, test = held_out, held_out.some(sizes[1], config.seed, "probe test").tolist()
    train = order[:num_train]
    return ProbePictures(
        *_load(source, config.test_size, train),
        *_load(test_source, config.test_size, test),
        num_classes=len(source.classes),
        normalise=normaliser,
        views_to_mask=_to_mask(config, ((source, train), (test_source, test))),
    )


def _to_mask(
    config: RunConfig, parts: Iterable[tuple[Source, Sequence[int]]]
) -> torch.Tensor | None:
    """The first of the same pictures at the training's size, if that is another one."""
    size, monitors = config.data.view.size, config.monitors
    if size == config.test_size:
        return None
    number = max(monitors.collapse.lidar_pictures, monitors.position_collapse.num_pictures)
    views = []
    for source, indices in parts:
        if chosen := indices[:number]:
            views.append(_load(source, size, chosen)[0])
            number -= len(chosen)
    return torch.cat(views)


def _load(
    source: Source, size: tuple[int, int], indices: Iterable[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(evaluation_loader(source, size, list(indices)))
    return torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])


def choose_num_workers(config: RunConfig, place: Place, device: torch.device) -> int:
    """On a GPU all cores but one load pictures; on a CPU one worker loads beside the training.

    Where a process computes with one or two threads, and no core is idle, it loads between its
    steps: a worker would take a core from threads that wait for each other (docs/lab_notes.md,
    2026-11-29). What comes from a server is always loaded beside.
    """
    if config.data.num_workers != "auto":
        return config.data.num_workers
    if device.type == "cpu":
        is_remote = "://" in str(getattr(config.data.source, "path", ""))
        threads = torch.get_num_threads()
        is_idle = place.world_size == 1 and threads < num_cores()
        return int(is_remote or is_idle or threads > _FEW_THREADS)
    return max(1, min(16, (os.cpu_count() or 1) // place.world_size - 1))
