"""Where a run keeps its pictures: as files, decoded on disk, or decoded on the device."""

from __future__ import annotations

import logging
import os
from typing import Any, Literal

import numpy as np
import torch

from jepakit.core.devices import all_memory
from jepakit.data.loader import TrainingStream
from jepakit.data.resident import ResidentPictures, ResidentStream, largest_size
from jepakit.data.sources import BrokenPicture, Source, SourceSettings, build_source
from jepakit.data.sources.decoded import DecodedSource
from jepakit.data.sources.folder_index import cache_root
from jepakit.data.sources.picture_files import ARRAY_SUFFIX
from jepakit.data.sources.progress import Lines
from jepakit.data.views import PlannedView, RandomView
from jepakit.runs.config import RunConfig

log = logging.getLogger(__name__)
Place = Literal["files", "disk", "device"]
_NUM_LOOKED_AT = 32  # pictures, to estimate how much all of them take
_ON_HOST = torch.device("cpu")


def open_source(
    settings: SourceSettings, config: RunConfig, device: torch.device = _ON_HOST
) -> Source:
    """A source, with its pixels kept decoded on disk if the config says so.

    Pictures that stay on the device are read from there once, too.
    """
    source = build_source(settings)
    if choose_place(source, config, device) == "files":
        return source
    lines = Lines("decoding pictures once")  # no bar: its thread would be forked with the workers
    return DecodedSource(
        source,
        cache_root() / "decoded",
        num_workers=os.cpu_count() or 1,
        progress=lambda done, total: lines.tell(done / total),
    )


def open_stream(
    source: Source, config: RunConfig, device: torch.device, **options: Any
) -> TrainingStream | ResidentStream:
    """The run's training batches; `options` are those of `TrainingStream`."""
    view = config.data.view
    if choose_place(source, config, device) == "device" and _has_room(source, config, device):
        plans = TrainingStream(source, PlannedView(view), **options)
        return ResidentStream(plans, ResidentPictures(source, view, device))
    return TrainingStream(source, RandomView(view), **options)


def _has_room(source: Source, config: RunConfig, device: torch.device) -> bool:
    """Now that all sizes are known; said in both cases."""
    height, width = largest_size(source)
    needed = len(source) * source.num_channels * height * width
    told = f"{needed / 2**30:.2f} GiB of pixels (the largest picture: {width} x {height})"
    if config.data.keep_decoded == "auto" and needed > config.data.keep_share * all_memory(device):
        log.info("%s do not fit data.keep_share of %s: they are cut on the CPU", told, device)
        return False
    log.info("%s stay on %s and are cut there", told, device)
    return True


def choose_place(source: Source, config: RunConfig, device: torch.device) -> Place:
    """What `data.keep_decoded` says, or for "auto" the fastest place that has room.

    It depends on memory that is there, not on what is free of it: a run that is continued on the
    same machine keeps its pictures in the same place, and so to the last bit the same.
    """
    asked = config.data.keep_decoded
    if asked == "auto":
        return _fastest_place(source, config, device)
    return "device" if asked == "device" else "disk" if asked else "files"


def _fastest_place(source: Source, config: RunConfig, device: torch.device) -> Place:
    is_decoded = isinstance(source, DecodedSource)
    if not is_decoded and not _is_encoded(source):
        return "files"
    share, view = config.data.keep_share, config.data.view
    together, padded = _estimated_bytes(source)
    is_cut_only = not view.jitter and not view.blur
    if device.type == "cuda" and is_cut_only and padded <= share * all_memory(device):
        return "device"
    return "disk" if is_decoded or together <= share * all_memory(_ON_HOST) else "files"


def _is_encoded(source: Source) -> bool:
    """Whether pictures have to be decoded: they are not made up, and not arrays."""
    for index in _looked_at(source):
        try:
            stored = source.stored(index)
        except BrokenPicture:
            continue
        return stored is not None and stored.suffix != ARRAY_SUFFIX
    return False


def _looked_at(source: Source) -> list[int]:
    return source.some(_NUM_LOOKED_AT, 0, "keeping").tolist()


def _estimated_bytes(source: Source) -> tuple[float, float]:
    """What all pixels take: packed, and as one array with the room of the largest picture."""
    sizes = []
    for index in _looked_at(source):
        try:
            sizes.append(source.open(index).size)
        except BrokenPicture:
            continue
    if not sizes:  # the loader will say what is wrong with them
        return float("inf"), float("inf")
    all_channels = len(source) * source.num_channels
    mean, largest = np.prod(sizes, 1).mean(), np.prod(np.max(sizes, 0))
    return float(all_channels * mean), float(all_channels * largest)
