"""`jepa bench step`: how fast a training step is, how much memory it takes, where its time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from jepakit.core.devices import (
    autocast,
    choose_device,
    choose_precision,
    peak_memory,
    synchronise,
)
from jepakit.core.distributed import Place
from jepakit.core.peak import matrix_peak
from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch, MaskIndices
from jepakit.models.cost import TokenCounts, step_flops
from jepakit.models.tokens import take_tokens
from jepakit.objectives.ijepa import IJepa
from jepakit.runs.config import RunConfig
from jepakit.runs.networks import Networks, build_networks, choose_device_batch
from jepakit.runs.resolve import resolve
from jepakit.runs.yaml_file import apply_overrides, check
from jepakit.training.optimizer import build_optimizer
from jepakit.training.parallel import compile_objective

NUM_REPEATS = 7
NUM_DRAWN = 32  # steps whose masks are looked at
USUAL_PEAK_SIDE = 2048  # of the square matrices whose product is a CPU's peak


def bench_step(config: Path | None, overrides: Sequence[str], devices: Sequence[str]) -> int:
    """Measure and print; pictures are made up, so no data is needed."""
    console = Console()
    resolved = resolve_without_pictures(config, overrides, devices)
    device = choose_device(resolved.devices[0])
    console.print(StepBench(resolved, device).report())
    return 0


def resolve_without_pictures(
    config: Path | None, overrides: Sequence[str], devices: Sequence[str]
) -> RunConfig:
    """The run that a file and words describe; the paper's without a file, not the scenes'."""
    if config is not None:
        return resolve(config, overrides, None, devices)[0]
    content = apply_overrides({"devices": list(devices) or ["auto"]}, overrides)
    return check(RunConfig, content)


def usual_masks(networks: Networks, count: int, seed: int) -> tuple[MaskIndices, float]:
    """Of some steps, the masks whose cost is nearest to the average, and operations per picture."""
    objective, masking = networks.objective, networks.masking
    assert isinstance(objective, IJepa)
    drawn = [masking(count, BatchRandom(seed, step)) for step in range(NUM_DRAWN)]
    costs = [
        step_flops(
            objective.context_encoder, objective.predictor, TokenCounts.of(masks, masking.grid)
        ).total
        for masks in drawn
    ]
    nearest = min(range(NUM_DRAWN), key=lambda step: abs(costs[step] - networks.flops.total))
    return drawn[nearest], costs[nearest]


class StepBench:
    """One step on made-up pictures, whole and in parts; of as many as fit, or of `count`."""

    def __init__(self, config: RunConfig, device: torch.device, count: int | None = None) -> None:
        precision = choose_precision(device, config.precision)
        networks = build_networks(config, 3, device)
        assert isinstance(networks.objective, IJepa)
        if count is None:
            count = choose_device_batch(config, networks, Place(), device, precision, None)
        self.objective = networks.objective
        self.device, self.precision, self.count = device, precision, count
        self.optimizer = build_optimizer(self.objective, config.optimization, device, precision)
        shape = (count, 3, *config.data.view.size)
        labels = torch.zeros(count, dtype=torch.long)
        masks, self.flops = usual_masks(networks, count, config.seed)
        views = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        self.batch = Batch(views, masks, labels, labels).to(device)
        if config.compile:
            compile_objective(self.objective)
        self.module: nn.Module = self.objective  # or what exchanges gradients around it

    def report(self) -> Table:
        """Times of the parts and the whole, and what follows from them."""
        parts = self.measure()
        whole, peak, share = self.beside_the_peak()
        flops = self.flops * self.count
        table = Table(
            title=f"{self.device}, {self.precision}, {self.count} pictures per step, "
            f"{torch.get_num_threads()} threads"
            if self.device.type == "cpu"
            else f"{torch.cuda.get_device_name(self.device)}, {self.precision}, "
            f"{self.count} pictures per step",
            title_justify="left",
        )
        for heading in ("part", "ms", "share of the step"):
            table.add_column(heading, justify="left" if heading == "part" else "right")
        for name, seconds in {**parts, "whole step": whole}.items():
            table.add_row(name, f"{1e3 * seconds:.1f}", f"{seconds / whole:.0%}")
        table.add_section()
        for name, words in (
            ("images/s", f"{self.count / whole:.1f}"),
            ("matrix products", f"{flops / whole / 1e9:.0f} GFLOP/s"),
            ("measured peak", f"{peak / 1e9:.0f} GFLOP/s"),
            ("share of the peak", f"{share:.1%}"),
            ("peak memory", f"{peak_memory(self.device) / 2**30:.2f} GiB"),
        ):
            table.add_row(name, words, "")
        return table

    def beside_the_peak(self) -> tuple[float, float, float]:
        """(seconds of a step, peak in FLOP/s, share of the peak), each the median of several turns.

        A turn is a step between two looks at the peak: what else a shared machine does then slows
        both, so that their ratio stays the same.
        """
        flops = self.flops * self.count
        looks, steps = [self.matrix_peak()], []
        for _ in range(NUM_REPEATS):
            steps.append(self.seconds_of(self.step))
            looks.append(self.matrix_peak())
        shares = [
            flops / seconds / ((before + after) / 2)
            for seconds, before, after in zip(steps, looks, looks[1:], strict=False)
        ]
        return median(steps), median(looks), median(shares)

    def measure(self) -> dict[str, float]:
        """Seconds of each part of a step."""
        o, batch = self.objective, self.batch
        with autocast(self.device, self.precision), torch.no_grad():
            targets = take_tokens(o.targets(batch.views), batch.masks.targets)
            context = o.encode_context(batch.views, batch.masks)

        def context_encoder() -> None:
            with autocast(self.device, self.precision):
                output = o.encode_context(batch.views, batch.masks)
            output.sum().backward()

        def predictor() -> None:
            leaf = context.detach().requires_grad_()
            with autocast(self.device, self.precision):
                predicted = o.predict_from(leaf, batch)
            o.distance(predicted.float(), targets[:, None]).backward()

        def target_encoder() -> None:
            with autocast(self.device, self.precision):
                o.targets(batch.views)

        self.step()
        parts: dict[str, Callable[[], None]] = {
            "target encoder": target_encoder,
            "context encoder": context_encoder,
            "predictor and loss": predictor,
            "optimizer": self.optimizer.step,
            "moving average": lambda: o.update_targets(0.0),
        }
        return {name: self.time(part) for name, part in parts.items()}

    def step(self) -> None:
        """A whole step."""
        with autocast(self.device, self.precision):
            loss = self.module(self.batch).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.objective.update_targets(0.0)

    def time(self, work: Callable[[], object], repeats: int = NUM_REPEATS) -> float:
        """Median seconds of some work."""
        work()
        return median(self.seconds_of(work) for _ in range(repeats))

    def seconds_of(self, work: Callable[[], object]) -> float:
        """Seconds of some work, once."""
        synchronise(self.device)
        begin = time.perf_counter()
        work()
        synchronise(self.device)
        return time.perf_counter() - begin

    def matrix_peak(self) -> float:
        """FLOP/s of square matrix products in the run's precision, here and now."""
        return matrix_peak(self.device, self.precision, USUAL_PEAK_SIDE)
