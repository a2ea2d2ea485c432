"""Watches the speed: how busy the arithmetic is, and whether it waits for pictures."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from statistics import fmean

from pydantic import Field

from jepakit.core import settings as core
from jepakit.training.monitors.monitor import Monitor, Snapshot

# How many looks a mean is over, so that a single hiccup of the disk is no news.
_MEMORY = 5
_ENOUGH = 3  # looks, before anything is said
LONG_LOADING = 0.3  # share of a CPU's time, where the process loads pictures itself
_WORSE = 1.5  # times what was said before is worth saying again


class Throughput(Monitor):
    """Share of the matrix-product peak that is used, and mean share of the time spent waiting.

    `flops_per_image` counts forward and backward, 2 per multiply-add; `peak` is the measured
    FLOP/s of all processes' devices together. Without them the share of the peak is left out.
    Images per second are logged by the trainer.
    """

    class Settings(core.Settings):
        """When to look, and when to speak."""

        every: int = Field(50, ge=0, description="steps between two looks; 0 = off")
        most_wait: float = Field(
            0.05, ge=0, le=1, description="share of the time waiting for pictures worth a warning"
        )

    def __init__(
        self,
        settings: Settings,
        flops_per_image: float | None = None,
        peak: float | None = None,
        num_workers: int = 0,
        loads_itself: bool = False,
    ) -> None:
        self.settings = settings
        self.every = settings.every
        self.flops_per_image = flops_per_image
        self.peak = peak
        self.num_workers = num_workers
        self.loads_itself = loads_itself
        self._waits: list[float] | None = None
        self._told = 0.0  # the share last spoken of

    def observe(self, snapshot: Snapshot) -> dict[str, float]:
        """`throughput/peak_share` where known, and `throughput/mean_data_wait`.

        The latter is called `/mean_loading` where a CPU loads pictures itself: it is never idle.
        Empty at the first look, while workers start and kernels compile.
        """
        if self._waits is None or not math.isfinite(snapshot.images_per_second):
            self._waits = []
            return {}
        self._waits = [*self._waits, snapshot.data_wait][-_MEMORY:]
        numbers = {f"throughput/mean_{self._called}": fmean(self._waits)}
        if self.flops_per_image is not None and self.peak is not None:
            used = snapshot.images_per_second * self.flops_per_image
            numbers["throughput/peak_share"] = used / self.peak
        return numbers

    @property
    def _called(self) -> str:
        return "loading" if self.loads_itself else "data_wait"

    def warnings(self, numbers: Mapping[str, float]) -> list[str]:
        """Speaks when pictures come too late, and again when it has become clearly worse."""
        wait = numbers.get(f"throughput/mean_{self._called}", 0.0)
        most = self.settings.most_wait
        if self.loads_itself:
            most = max(most, LONG_LOADING)
        if len(self._waits or ()) < _ENOUGH or wait <= most:
            return []
        if wait < _WORSE * self._told:
            return []
        self._told = wait
        more = min(max(2, 2 * self.num_workers), os.cpu_count() or 1)
        advice = (
            f"set data.num_workers={more}"
            if more > self.num_workers
            else "every core is decoding already, so store them smaller with `jepa pack`, or set "
            "data.keep_decoded=auto"
        )
        return [f"{100 * wait:.0f} % of the time goes by waiting for pictures: {advice}."]
