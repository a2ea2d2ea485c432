"""The last row groups that were fetched, as files on disk that all processes of a machine share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from jepakit.core.errors import RunFailed
from jepakit.core.files import wait_for_lock, written_whole

_ENDING = ".arrow"


class RowGroupFiles:
    """At most `num_kept` files in `folder`; what was used last stays.

    One process fetches a row group, the others wait for it. A file that is removed stays readable
    where it is mapped.
    """

    def __init__(self, folder: Path, num_kept: int) -> None:
        self._folder, self._num_kept = folder, num_kept

    def path(self, names: Sequence[object], write: Callable[[Path], None]) -> Path:
        """Where the row group of these names is; if it is not there, `write` puts it there."""
        key = hashlib.sha256(repr(tuple(names)).encode()).hexdigest()[:24]
        path = self._folder / (key + _ENDING)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _locked(self._folder / f"{key}.lock"):
                if path.exists():
                    os.utime(path)
                    return path
                with written_whole(path) as beside:
                    write(beside)
                self._remove_oldest()
        except OSError as error:
            raise RunFailed(
                f"{self._folder} cannot be written ({error.strerror or error}): make room there, "
                "or set the variable JEPAKIT_CACHE to a folder on another disk"
            ) from error
        return path

    def _remove_oldest(self) -> None:
        found = []
        for path in self._folder.glob(f"*{_ENDING}"):
            with suppress(FileNotFoundError):  # another process was quicker
                found.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(found)[: -self._num_kept]:
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("a") as lock:
        wait_for_lock(lock)
        yield
