"""What failures and stragglers cost a run of days, and how often to save: simulated and by formula.

Any GPU's failure stops all. Failures of n GPUs come at random, on average every m = M / n hours,
M being one GPU's; the run then loses what it did since the last checkpoint, and the time until it
runs again. Every step waits for the slowest GPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

HOURS_BETWEEN = 50_000.0  # of one GPU: 419 interruptions of 16,384 in 54 days (arXiv 2407.21783)
WRITE = 1e9  # bytes/s at which a checkpoint is written while the run waits: an assumption
RESTART = 1 / 6  # hours from a failure until steps are made again: an assumption
LATE = 0.01  # how late a GPU is in a step on average, as a share of the step: an assumption
NUM_TRIALS = 2000
NEARLY = 0.001  # of the time: losses this close to the least are as good


@dataclass(frozen=True)
class Conditions:
    """One run on so many GPUs, all times in hours."""

    num_gpus: int
    work: float  # without failures, stragglers and checkpoints
    save: float  # one checkpoint
    hours_between: float = HOURS_BETWEEN  # failures of one GPU
    restart: float = RESTART
    late: float = LATE

    @property
    def between(self) -> float:
        """Hours between failures of the whole run."""
        return self.hours_between / self.num_gpus

    def straggling(self) -> float:
        """How many times as long a step takes when all wait for the slowest, by formula.

        Lateness is exponential; the mean of the largest of n is `late` times the n-th harmonic
        number.
        """
        return 1 + self.late * sum(1 / place for place in range(1, self.num_gpus + 1))


def simulate(
    conditions: Conditions,
    intervals: Sequence[float],
    seed: int,
    num_trials: int = NUM_TRIALS,
) -> Float[np.ndarray, "trials intervals"]:
    """Hours that the run takes if it saves after each of `intervals` hours of work.

    All intervals meet the same failures, so that they differ by themselves and not by luck.
    """
    generator = np.random.default_rng((seed, conditions.num_gpus))
    work = conditions.work * _drawn_straggling(conditions, generator, num_trials)[:, None]
    every = np.minimum(np.asarray(intervals)[None, :], work)  # trials intervals
    segments = np.ceil(work / every - 1e-9)  # the last one may be shorter
    last = work - (segments - 1) * every
    done = np.zeros_like(every)
    hours = np.zeros_like(every)
    running = np.ones(every.shape, dtype=bool)
    while running.any():
        until_failure = generator.exponential(conditions.between, size=(num_trials, 1))
        one = every + conditions.save
        needed = (segments - done - 1) * one + last + conditions.save
        ends = running & (needed <= until_failure)
        fails = running & ~ends
        hours = np.where(ends, hours + needed, hours)
        hours = np.where(fails, hours + until_failure + conditions.restart, hours)
        saved = np.minimum(until_failure // one, segments - done - 1)
        done = np.where(fails, done + saved, done)
        running = fails
    return hours


def _drawn_straggling(
    conditions: Conditions, generator: np.random.Generator, num_trials: int, num_steps: int = 16
) -> Float[np.ndarray, " trials"]:
    """The mean over some steps of the slowest GPU's time, relative to a step that nobody delays."""
    slowest = np.stack(
        [
            generator.exponential(1.0, (num_trials, conditions.num_gpus)).max(axis=1)
            for _ in range(num_steps)
        ]
    )
    return 1 + conditions.late * slowest.mean(axis=0)


def expected_hours(conditions: Conditions, interval: float) -> float:
    """What `simulate` gives on average, by formula (Daly 2006, with a restart that cannot fail).

    A stretch of x hours that every failure sends back to its beginning takes (m + R)(e^(x/m) - 1).
    """
    mean, work = conditions.between, conditions.work * conditions.straggling()
    stretch = min(interval, work) + conditions.save
    failures = math.expm1(stretch / mean) * work / min(interval, work)
    return (mean + conditions.restart) * failures


def young(conditions: Conditions) -> float:
    """Hours of work between checkpoints, to first order: sqrt(2 save m) (Young 1974)."""
    return math.sqrt(2 * conditions.save * conditions.between)


def daly(conditions: Conditions) -> float:
    """Hours of work between checkpoints, to higher order (Daly 2006, equation 37)."""
    save, mean = conditions.save, conditions.between
    if save >= 2 * mean:
        return mean
    ratio = save / (2 * mean)
    return math.sqrt(2 * save * mean) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - save


def intervals_to_try(num: int = 33) -> list[float]:
    """Hours, evenly spaced in their logarithm: half a minute to a day."""
    return list(np.geomspace(0.5 / 60, 24.0, num))


@dataclass(frozen=True)
class Outcome:
    """What a simulation shows."""

    conditions: Conditions
    intervals: list[float]
    lost: list[float]  # mean share of the time that is not work, at each interval

    @property
    def recommended(self) -> float:
        """The simulated interval that loses least."""
        return self.intervals[int(np.argmin(self.lost))]

    @property
    def as_good(self) -> tuple[float, float]:
        """The shortest and the longest simulated interval that lose hardly more than that."""
        near = [h for h, lost in zip(self.intervals, self.lost, strict=True) if self._is_near(lost)]
        return near[0], near[-1]

    def _is_near(self, lost: float) -> bool:
        return lost <= min(self.lost) + NEARLY

    def lost_at(self, interval: float) -> float:
        """The share lost at any interval, between those simulated."""
        return float(np.interp(math.log(interval), np.log(self.intervals), self.lost))


def outcome(conditions: Conditions, seed: int, num_trials: int = NUM_TRIALS) -> Outcome:
    """Simulate every interval."""
    intervals = intervals_to_try()
    hours = simulate(conditions, intervals, seed, num_trials)
    lost = 1 - conditions.work / hours.mean(axis=0)
    return Outcome(conditions, intervals, [float(value) for value in lost])
