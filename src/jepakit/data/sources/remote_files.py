"""Opens files at URLs, of which parts can be read, and bears a network that fails for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from jepakit.core.errors import RunFailed

_T = TypeVar("_T")
_NUM_TRIES = 4
_SECONDS_BETWEEN = 1.0  # before the second try; four times as long before each further one
_DAMAGED = " is of another format, or damaged: "


def check_protocols(files: Iterable[str]) -> None:
    """`ValueError` for URLs that cannot be read, with what is to be installed. Paths may be any."""
    for protocol in {file.partition("://")[0] for file in files if "://" in file}:
        try:
            import fsspec

            fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            reason = f"{protocol}:// needs more packages ({first_line(error)})"
            raise ValueError(f"{reason}: pip install 'jepakit[hub]'") from None
        except ValueError:
            raise ValueError(f"{protocol}:// is not known: give an https:// address") from None


def open_url(url: str) -> Any:
    """A file that reads what it is asked for and nothing ahead."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(url)
    return system.open(path, "rb", cache_type="none")


def try_again(
    read: Callable[[], _T], file: str, drop_handles: Callable[[], None] | None = None
) -> _T:
    """What `read` gives; from a URL after several tries, for a run takes longer than any network.

    `drop_handles`, where there are any, says that the file was there before. Raises `ValueError`
    if the content is damaged and `RunFailed` if it cannot be had.
    """
    is_remote = "://" in file
    for number in range(_NUM_TRIES if is_remote else 1):
        if number:
            time.sleep(_SECONDS_BETWEEN * 4 ** (number - 1))
        try:
            return read()
        except ValueError as error:
            raise ValueError(
                f"{file} is of another format, or damaged: {first_line(error)}"
            ) from None
        except Exception as error:
            reason = error
            if isinstance(error, FileNotFoundError) and not (is_remote and drop_handles):
                where = "there, or its server cannot be reached" if is_remote else "there any more"
                raise RunFailed(f"{file} is not {where}") from error
        if drop_handles:
            drop_handles()
    if not (is_remote or getattr(reason, "errno", None)):
        raise ValueError(f"{file}{_DAMAGED}{first_line(reason)}")
    advice = "check the network" if is_remote else "make it readable"
    raise RunFailed(f"{file} cannot be read ({first_line(reason)}): {advice}, then continue")


def first_line(error: Exception) -> str:
    """The beginning of an error's message, for a sentence of ours."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
