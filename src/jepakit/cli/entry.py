"""The command `jepa`: from the words of a command line to an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any, NoReturn

import typer

# They add their verbs, which are listed in this order.
from jepakit.cli import train, use, data, bench  # isort: skip  # noqa: F401
from jepakit.cli.app import app
from jepakit.core.errors import RunFailed


def main(arguments: list[str] | None = None) -> None:
    """Text in, exit code out: an error of the user's is one sentence."""
    _speak_utf8()
    # Read when torch loads. Threads that wait by spinning starve a busy CPU, threads that sleep at
    # once wake up late: they spin for some microseconds, then sleep (docs/lab_notes.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    logging.basicConfig(format="%(message)s", level="WARNING", handlers=[_Standard()])
    logging.getLogger("jepakit").setLevel(os.environ.get("JEPAKIT_LOG", "INFO"))
    # Ctrl-C ends a command at once, except while it trains. Python's own way, an exception at any
    # place, is swallowed by some libraries and reported as a mistake of the user's by others.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)
    try:
        app(spread(sys.argv[1:] if arguments is None else arguments))
    except (ValueError, OSError) as error:
        _fail(error, 2)
    except RunFailed as error:
        _fail(error, 3)
    finally:
        signal.signal(signal.SIGINT, before)


def spread(arguments: list[str]) -> list[str]:
    """`--devices cpu cpu` -> `--devices cpu --devices cpu`: as people write it; so for --slurm."""
    spread_out: list[str] = []
    option, values = "", []  # the option just read, and the words that belong to it
    for word in [*arguments, ""]:
        if option and _SPREAD[option](word):
            values.append(word)
            continue
        if option:
            nothing = ["--slurm", ""] if option == "--slurm" else [option]  # it may stand alone
            spread_out += [part for value in values for part in (option, value)] or nothing
        option, values = (word, []) if word in _SPREAD else ("", [])
        if not option:
            spread_out.append(word)
    return spread_out[:-1]


def _may_be_device(word: str) -> bool:
    return not (not word or word.startswith("-") or "=" in word or word.endswith((".yaml", ".yml")))


def _may_be_setting(word: str) -> bool:
    return "=" in word and not word.startswith("-")


_SPREAD = {"--devices": _may_be_device, "--slurm": _may_be_setting}


class _Standard(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is standard error now: a progress bar takes its place while it is shown."""

    @property
    def stream(self) -> Any:
        """Where to write."""
        return sys.stderr

    @stream.setter
    def stream(self, stream: Any) -> None:
        """Chosen by the property above."""


def _speak_utf8() -> None:
    """Start again in Python's UTF-8 mode where names of files would be read in another encoding.

    Python does so by itself under `LC_ALL=C`, unless it was told not to.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _fail(error: Exception, code: int) -> NoReturn:
    if os.environ.get("JEPAKIT_TRACEBACK"):
        raise error
    typer.echo(f"jepa: {error}", err=True)
    sys.exit(code)
