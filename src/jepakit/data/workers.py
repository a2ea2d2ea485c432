"""Processes that prepare data in the background, and end when they should and only then."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing.synchronize import Event
from multiprocessing.util import Finalize
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from jepakit.core.errors import RunFailed

# The parent decides what these mean: a worker that died of one would end the run at once.
_SIGNALS_FOR_THE_PARENT = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
_SECONDS_BETWEEN_LOOKS = 2.0
_stop: Event | None = None  # set in worker processes only


class Workers(Iterator[Any]):
    """`dataset[key]` for every key, in order, computed ahead by `num_workers` processes.

    Zero workers compute in this process. `RunFailed` is raised here as it was there. The processes
    start here, once. `close` ends them; so do the end of this object, of the program, and of the
    parent process, even by SIGKILL.
    """

    def __init__(
        self, dataset: Dataset, keys: Iterable[Any], num_workers: int, pin_memory: bool = False
    ) -> None:
        context = _process_context() if num_workers else None
        stop: Event | None = context.Event() if context else None
        with warnings.catch_warnings():
            # Forking beside other threads: our workers run one thread, and nothing on the device.
            warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
            warnings.filterwarnings("ignore", ".*suggested max number of worker", UserWarning)
            loader = DataLoader(
                _Guarded(dataset),
                batch_size=None,
                sampler=keys,
                collate_fn=_as_it_is,
                num_workers=num_workers,
                multiprocessing_context=context,
                worker_init_fn=partial(_prepare_worker, stop, os.getpid()) if stop else None,
                pin_memory=pin_memory,
            )
            self._items: Iterator[Any] = iter(loader)
        # At exit, workers that were not told to stop would be waited for in vain. The first line
        # covers a child of `multiprocessing` and a forgotten object, the second the main process.
        self._closing = Finalize(self, _close, (self._items, stop), exitpriority=10)
        atexit.register(self._closing)

    def __next__(self) -> Any:
        item = next(self._items)
        if isinstance(item, RunFailed):
            raise item
        return item

    def close(self) -> None:
        """End the processes, also in the middle of an item; nothing comes after."""
        atexit.unregister(self._closing)
        self._closing()
        self._items = iter(())


class _Guarded(Dataset):
    """Hands `RunFailed` over as an item: raised in a worker, it would come with a traceback."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._dataset[key]
        except RunFailed as error:
            return error


def is_stopping() -> bool:
    """Whether this worker process shall drop what it does. Look between pictures."""
    return _stop is not None and _stop.is_set()


def _process_context() -> Any:
    """Fork starts at once and shares memory, but only Linux has a fork that can be trusted."""
    return multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def _prepare_worker(stop: Event, parent: int, worker: int) -> None:
    global _stop
    _stop = stop
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    sys.excepthook = partial(_tell_unless_hung_up, sys.excepthook)
    torch.set_num_threads(1)
    for name in _SIGNALS_FOR_THE_PARENT:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _tell_unless_hung_up(
    before: Callable[..., None],
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
) -> None:
    """A parent that is stopped while it takes a tensor hangs up: its end is told elsewhere.

    Python's thread that hands tensors over would print a traceback. Errors of the data do not come
    this way.
    """
    if not issubclass(kind, ConnectionError | EOFError):
        before(kind, error, trace)


def _end_with(parent: int) -> None:
    """Torch's workers look for their parent too, but not while a pipe that nobody reads is full."""
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def _as_it_is(item: Any) -> Any:
    return item


def _close(items: Any, stop: Event | None) -> None:
    if stop is not None:
        stop.set()
        # Dropping the iterator would do the same, but not while a traceback still refers to it.
        items._shutdown_workers()
