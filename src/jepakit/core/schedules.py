"""Schedules: pure functions of progress, the share of the training that is done, in [0, 1]."""

import math


def linear(progress: float, start: float, end: float) -> float:
    """From `start` to `end` in a straight line."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)


def cosine(progress: float, start: float, end: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


def warmup_cosine(progress: float, warmup: float, start: float, peak: float, end: float) -> float:
    """Straight from `start` to `peak` during the share `warmup`, then along a cosine to `end`."""
    if progress < warmup:
        return linear(progress / warmup, start, peak)
    return cosine((progress - warmup) / max(1 - warmup, 1e-12), peak, end)
