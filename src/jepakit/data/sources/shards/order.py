"""An order of training that needs only a few shards at a time, and fetches the next ones ahead."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jepakit.core.errors import RunFailed
from jepakit.core.randomness import generator
from jepakit.data.sources.shards.cache import ShardCache
from jepakit.data.sources.shards.shard import Shard

_log = logging.getLogger(__name__)
_USUAL_WINDOW = 8  # shards: training begins when the first window is there

Windows = list[Int[np.ndarray, " _"]]  # numbers of shards that are read together


def choose_window(max_bytes: int, longest: int) -> int:
    """How many shards of at most `longest` bytes to mix: two such windows fit in `max_bytes`."""
    return max(1, min(_USUAL_WINDOW, max_bytes // 2 // max(longest, 1)))


def shuffled_windows(
    shards: Int[np.ndarray, " shards"], window: int, seed: int, epoch: int
) -> Windows:
    """The shards in a new order, in groups of about `window`."""
    shuffled = generator(seed, "shards", epoch).permutation(shards)
    return np.array_split(shuffled, -(-len(shards) // window))


def order_by_windows(
    windows: Windows, shard_of: Int[np.ndarray, " N"], seed: int, epoch: int
) -> Int[np.ndarray, " N"]:
    """All pictures, shuffled within each window; `shard_of` must be sorted."""
    random = generator(seed, "order", epoch)
    shuffled = []
    for window in windows:
        starts, ends = (np.searchsorted(shard_of, window, side) for side in ("left", "right"))
        pictures = [np.arange(*bounds) for bounds in zip(starts, ends, strict=True)]
        shuffled.append(random.permutation(np.concatenate(pictures)))
    return np.concatenate(shuffled)


class FetchAhead:
    """Fetches, in a thread of each process, the window that is being read and the next one."""

    def __init__(self, shards: Sequence[Shard], lengths: Sequence[int], cache: ShardCache) -> None:
        self._shards, self._lengths, self._cache = shards, lengths, cache
        self._wanted: list[Shard] = []
        self._thread: threading.Thread | None = None
        self._process = 0
        self.follow([np.array([number]) for number in range(len(shards))])

    def follow(self, windows: Windows) -> None:
        """What will be read, one window after another."""
        self._windows = windows
        # Backwards, because the last window may be of the next epoch, with shards of this one.
        self._window_of = {
            int(shard): place for place in reversed(range(len(windows))) for shard in windows[place]
        }

    def reached(self, shard: int) -> None:
        """A shard is read for the first time in this process: others are soon wanted."""
        if self._process != os.getpid():
            self._process, self._thread = os.getpid(), None
        place = self._window_of.get(shard)
        if place is None:
            return
        wanted = [*_turned(self._windows[place]), *_turned(self._next(place))]
        self._wanted = [self._shards[number] for number in wanted if number != shard]
        if self._wanted and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._fetch, daemon=True)
            self._thread.start()

    def _next(self, place: int) -> Int[np.ndarray, " _"]:
        """The window after that one, if both fit in the cache."""
        here, following = self._windows[place], self._windows[place + 1 : place + 2]
        if not following or self._bytes(here) + self._bytes(following[0]) > self._cache.max_bytes:
            return here[:0]
        return following[0]

    def _bytes(self, window: Int[np.ndarray, " _"]) -> int:
        return sum(self._lengths[shard] for shard in window)

    def _fetch(self) -> None:
        while self._wanted:
            shard = self._wanted.pop(0)
            try:
                self._cache.fetch(shard, wait=False)
            except (RunFailed, ValueError, OSError) as error:
                # Who needs it tries again, and tells.
                _log.info("%s was not fetched ahead: %s", shard.shown, error)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_thread": None, "_process": 0}


def _turned(window: Int[np.ndarray, " _"]) -> list[int]:
    """Processes begin with different ones, so that they do not wait for each other."""
    return np.roll(window, os.getpid()).tolist()
