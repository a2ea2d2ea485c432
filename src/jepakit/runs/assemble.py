"""From a RunConfig to a trainer: the only place that knows all families."""

from __future__ import annotations

import logging
from datetime import timedelta

import torch
from rich.console import Console
from torch import nn

from jepakit.core.checkpoint import CheckpointFolder
from jepakit.core.devices import Precision, choose_precision
from jepakit.core.distributed import Place, check_alike, gather_objects
from jepakit.core.files import write_text
from jepakit.core.peak import matrix_peak
from jepakit.core.state import restore
from jepakit.data.normalization import Normalizer
from jepakit.data.sources import Source
from jepakit.objectives import IJepa
from jepakit.runs.beginning import begin_with
from jepakit.runs.config import RunConfig
from jepakit.runs.continuing import check_data
from jepakit.runs.folder import RunFolder
from jepakit.runs.frozen import beginning_of
from jepakit.runs.keeping import open_source, open_stream
from jepakit.runs.networks import Networks, build_networks, choose_device_batch
from jepakit.runs.own_pictures import where_looked
from jepakit.runs.pictures import (
    choose_num_workers,
    open_statistics,
    open_validation,
    probe_pictures,
)
from jepakit.runs.reference_files import first_step, reference_outputs
from jepakit.training.metrics_log import MetricsLog
from jepakit.training.monitors import FeatureCache, Monitor, ProbePictures
from jepakit.training.monitors.collapse import Collapse
from jepakit.training.monitors.gradients import Gradients
from jepakit.training.monitors.masks import Masks
from jepakit.training.monitors.online_probe import OnlineProbe
from jepakit.training.monitors.position_collapse import PositionCollapse
from jepakit.training.monitors.target_distance import TargetDistance
from jepakit.training.monitors.throughput import Throughput
from jepakit.training.optimizer import Schedules, build_optimizer
from jepakit.training.parallel import choose_plan, compile_objective, parallelise, shard
from jepakit.training.reporting import Pace, Reporter
from jepakit.training.saving import ShardedSaver, WholeSaver
from jepakit.training.trainer import Trainer

log = logging.getLogger(__name__)
_PEAK_SIDE = 1024  # of the matrices whose product is a CPU's peak: it takes a moment


def assemble(
    config: RunConfig,
    place: Place,
    device: torch.device,
    console: Console,
    source: Source | None = None,
) -> tuple[Trainer, Networks]:
    """A trainer at the run's beginning, or where its newest checkpoint ends.

    `source` takes the place of the one that the config describes: pictures that a program has.
    """
    folder = RunFolder(config.folder)
    precision = choose_precision(device, config.precision)
    if source is None:
        try:
            source = open_source(config.data.source, config, device)
        except ValueError as error:
            raise ValueError(f"{error}{where_looked(config)}") from error
    check_alike({"pictures": source.fingerprint()})
    checkpoints = CheckpointFolder(folder.checkpoints, config.checkpoint)
    state = checkpoints.load_newest()
    check_data(config, state.facts if state else None, source)
    if place.is_first and state and state.facts["data"] != source.fingerprint():
        folder.broken_pictures.unlink(missing_ok=True)  # perhaps repaired
    statistics = open_statistics(config, source, folder)
    normaliser = Normalizer(statistics).to(device)

    networks = build_networks(config, source.num_channels, device)
    objective = networks.objective
    begins_with = beginning_of(config)
    if state is None and begins_with is not None:  # before networks are spread
        begun = begin_with(begins_with, objective, statistics)
        if place.is_first:
            log.info("%s", begun.sentences(begins_with.name))
    device_batch = choose_device_batch(config, networks, place, device, precision, state)
    plan = choose_plan(
        config.parallel, config.cpu_offload, place.world_size, networks.state_bytes, device
    )
    if plan.mode == "fsdp" and config.optimization.method == "muon":
        raise ValueError(
            f"optimization.method=muon needs whole matrices on every process, but the networks are "
            f"spread ({plan.reason}): set parallel=ddp, or optimization.method=adamw"
        )
    if place.is_first and place.world_size > 1:
        log.info("%d processes, parallel=%s: %s", place.world_size, plan.mode, plan.reason)
    if config.compile:
        compile_objective(objective)
    shard(objective, plan, device, precision)
    optimizer = build_optimizer(objective, config.optimization, device, precision)
    schedules = Schedules(
        config.optimization, max(1, source.pictures_per_epoch // config.batch.size)
    )
    if state is not None:
        restore(state, objective, optimizer)
        step = state.step
    else:
        step = first_step(config, objective, optimizer, schedules.steps_per_epoch)
    check_alike({"step to begin with": step})
    num_workers = choose_num_workers(config, place, device)
    loads_itself = device.type == "cpu" and not num_workers
    stream = open_stream(
        source,
        config,
        device,
        masking=networks.masking,
        seed=config.seed,
        batch_size=config.batch.size,
        rank=place.rank,
        world_size=place.world_size,
        micro_batches=config.batch.size // place.world_size // device_batch,
        num_workers=num_workers,
        start_step=step,
        total_steps=schedules.num_steps,
        pin_memory=device.type == "cuda",
        broken_file=folder.broken_pictures,
        max_broken_share=config.data.max_broken_share,
    )
    if place.is_first:
        write_text(folder.statistics, statistics.model_dump_json())
    pace = Pace(config.batch.size, step)
    peak = _peak(config, device, precision)
    reporter = Reporter(
        objective=objective,
        schedules=schedules,
        steps_per_epoch=stream.steps_per_epoch,
        pace=pace,
        # Spread networks compute on all processes at once, also for those who only look.
        monitors=_monitors(config, networks, source, normaliser, num_workers, peak, loads_itself)
        if place.is_first or plan.mode == "fsdp"
        else [],
        metrics=MetricsLog(folder.path, config.logging, step) if place.is_first else None,
        every=config.logging.every,
        device=str(device),
        precision=precision,
        console=console,
        loads_itself=loads_itself,
    )
    trainer = Trainer(
        objective=objective,
        module=parallelise(objective, device),
        optimizer=optimizer,
        schedules=schedules,
        source=source,
        stream=stream,
        pace=pace,
        normalise=normaliser,
        device=device,
        precision=precision,
        checkpoints=checkpoints,
        saver=ShardedSaver(checkpoints, device, timedelta(hours=1))
        if plan.mode == "fsdp"
        else WholeSaver(checkpoints, place.is_first),
        is_first=place.is_first,
        step=step,
        seed=config.seed,
        hang_seconds=config.processes.hang_seconds,
        clip_gradients=config.optimization.clip_gradients,
        observers=[
            reporter,
            *reference_outputs(
                config,
                objective=objective,
                optimizer=optimizer,
                schedules=schedules,
                steps_per_epoch=stream.steps_per_epoch,
                device_batch=device_batch,
                place=place,
                device=device,
            ),
        ],
        facts={
            "data": source.fingerprint(),
            "device_batch": device_batch,
            "world_size": place.world_size,
            "config": config.model_dump(mode="json"),
            "classes": list(source.classes),
            "num_channels": source.num_channels,
            "normalization": statistics.model_dump(),
        },
    )
    return trainer, networks


def _monitors(
    config: RunConfig,
    networks: Networks,
    source: Source,
    normaliser: nn.Module,
    num_workers: int,
    peak: float | None,
    loads_itself: bool,
) -> list[Monitor]:
    held_out = open_validation(config, source)
    probe = probe_pictures(config, source, held_out, normaliser)
    return build_monitors(config, networks, probe, num_workers, peak, loads_itself)


def _peak(config: RunConfig, device: torch.device, precision: Precision) -> float | None:
    """FLOP/s of all processes together, all at once as in training; None if nobody asks."""
    if not config.monitors.throughput.every:
        return None
    return sum(gather_objects(matrix_peak(device, precision, _PEAK_SIDE)))


def build_monitors(
    config: RunConfig,
    networks: Networks,
    probe: ProbePictures,
    num_workers: int,
    peak: float | None,
    loads_itself: bool = False,
) -> list[Monitor]:
    """All monitors that are not switched off."""
    m, features = config.monitors, FeatureCache(probe)
    representations: list[Monitor] = [
        Collapse(m.collapse, features, networks.masking),
        PositionCollapse(m.position_collapse, probe, networks.masking),
        OnlineProbe(m.online_probe, features),
        TargetDistance(m.target_distance),
    ]
    monitors: list[Monitor] = [
        *(representations if isinstance(networks.objective, IJepa) else []),  # others are frozen
        Masks(m.masks),
        Gradients(m.gradients),
        Throughput(m.throughput, networks.flops.total, peak, num_workers, loads_itself),
    ]
    return [monitor for monitor in monitors if monitor.every]
