"""Fetches shards from web servers and commands, again and again where that may help."""

from __future__ import annotations

import http.client
import logging
import os
import random
import select
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import IO, Any, TypeVar

from jepakit.core.errors import RunFailed
from jepakit.data.sources.shards.shard import Shard, is_pipe
from jepakit.data.workers import is_stopping

_log = logging.getLogger(__name__)
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 120.0  # seconds between attempts
_CHUNK = 1 << 20
_NOT_NOW = (408, 425, 429)  # beside 5xx: asking again later may help
_PASSING = (OSError, http.client.HTTPException)
Result = TypeVar("Result")


class NotThere(ValueError):
    """A server refuses for good, or a command does not exist."""


@dataclass(frozen=True)
class Download:
    """A started download: what reads on, and the length in bytes if that is known."""

    read: Callable[[int], bytes]
    length: int | None

    def chunks(self) -> Iterator[bytes]:
        """All of it; raises `OSError` if it ends too early."""
        num_read = 0
        while chunk := self.read(_CHUNK):
            if is_stopping():
                raise RunFailed("the loading of pictures was stopped")
            num_read += len(chunk)
            yield chunk
        if self.length is not None and num_read != self.length:
            raise OSError(f"it ended after {num_read} of {self.length} bytes")


@dataclass(frozen=True)
class Downloads:
    """How patient downloads are: `timeout` is in seconds without any answer."""

    retries: int
    timeout: float

    def fetch(self, shard: Shard, keep: Callable[[Download], Result]) -> Result:
        """What `keep` makes of the shard's content; it is called anew at every attempt.

        Raises `NotThere` at once where asking again cannot help, `RunFailed` after `retries`.
        """
        for attempt in range(self.retries + 1):
            try:
                with _open(shard.place, self.timeout) as download:
                    return keep(download)
            except NotThere as error:
                raise NotThere(f"{shard.shown}: {error}: correct data.source.path") from None
            except _PASSING as error:
                if attempt == self.retries:
                    raise RunFailed(
                        f"{shard.shown} could not be fetched, {attempt + 1} times over "
                        f"({_reason(error)}): the same command continues when it can be"
                    ) from error
                seconds = _seconds_to_wait(error, attempt)
                text = "%s could not be fetched (%s): once more in %.0f s"
                _log.warning(text, shard.shown, _reason(error), seconds)
                _wait(seconds)
        raise AssertionError("unreachable")

    def read_small(self, url: str) -> bytes | None:
        """The content at a URL; None if there is nothing."""
        try:
            return self.fetch(Shard(url), lambda download: b"".join(download.chunks()))
        except NotThere:
            return None


@contextmanager
def _open(place: str, timeout: float) -> Iterator[Download]:
    if is_pipe(place):
        with _run(place.partition(":")[2], timeout) as download:
            yield download
        return
    with _answer(place, timeout) as answer:
        length = answer.headers.get("Content-Length")
        yield Download(answer.read, int(length) if length and length.isdigit() else None)


def _answer(url: str, timeout: float) -> Any:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "jepakit"})
        return urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < 500 and error.code not in _NOT_NOW:
            raise NotThere(f"the server answers {error.code} ({error.reason})") from None
        raise
    except (ValueError, http.client.InvalidURL) as error:
        raise NotThere(f"this is no valid address ({error})") from None


@contextmanager
def _run(command: str, timeout: float) -> Iterator[Download]:
    """The output of a shell command."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command, shell=True, stdout=subprocess.PIPE, stderr=complaints, start_new_session=True
        )
        try:
            yield Download(partial(_read_output, process, complaints, timeout), None)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _read_output(
    process: subprocess.Popen, complaints: IO[bytes], timeout: float, size: int
) -> bytes:
    """Some output; `OSError` if there is none for too long, or if the command failed."""
    assert process.stdout
    if not select.select([process.stdout], [], [], timeout)[0]:
        raise OSError(f"no output for {timeout:g} s")
    output = os.read(process.stdout.fileno(), size)
    if not output:
        _check_success(process, complaints, timeout)
    return output


def _check_success(process: subprocess.Popen, complaints: IO[bytes], timeout: float) -> None:
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise OSError(f"the command does not end within {timeout:g} s") from None
    if code == 0:
        return
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").strip().splitlines()
    text = f"the command ended with {code}: {' '.join(lines[-1:])}"
    raise NotThere(text) if code == 127 else OSError(text)


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the content was cut off"
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} ({error.reason})"
    reason = getattr(error, "reason", None) or error
    return getattr(reason, "strerror", None) or str(reason) or type(error).__name__


def _seconds_to_wait(error: Exception, attempt: int) -> float:
    """As long as the server asks for; else longer every time, not all processes at once."""
    usual = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt) * random.Random().uniform(0.5, 1)
    asked = error.headers.get("Retry-After") if isinstance(error, urllib.error.HTTPError) else None
    if not asked:
        return usual
    try:
        seconds = float(asked) if asked.isdigit() else _seconds_until(asked)
    except ValueError:
        return usual
    return min(max(seconds, usual), 10 * _LONGEST_WAIT)


def _seconds_until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()


def _wait(seconds: float) -> None:
    """Sleep, but notice that this process shall end."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if is_stopping():
            raise RunFailed("the loading of pictures was stopped")
        time.sleep(min(left, 1.0))
