"""A studio as a user starts it, of networks made in a moment, and a real browser before it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.unit.conftest import write_run

REQUIRED = os.environ.get("JEPAKIT_BROWSER") == "required"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SETTINGS = ["num_pictures=4", "energy.masks=9", "retrieval.gallery=16"]
PATIENCE = 40_000  # milliseconds: these machines are busy

DATA = {
    "source": {"kind": "scenes", "num_pictures": 40, "size": 48},
    **{"view": {"size": 48}, "num_workers": 0},
}
COARSE = {"size": None, "width": 32, "depth": 1, "num_heads": 2, "patch": 12}


class Running(NamedTuple):
    """A studio's address, process, and the folder for its temporary files."""

    url: str
    process: subprocess.Popen[str]
    temporary: Path


def what_is_missing() -> str | None:
    """Why no browser can be started here; None if one can."""
    try:
        import gradio  # noqa: F401
        import playwright  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed: pip install gradio playwright"
    if not any(map(shutil.which, BROWSERS)):
        return "there is no Chromium (Debian: apt install chromium)"
    return None


def check_browser() -> None:
    """Skip, or fail where these tests are required, with the reason."""
    missing = what_is_missing()
    if missing and REQUIRED:
        pytest.fail(f"the tests in a browser are required, but {missing}")
    if missing:
        pytest.skip(f"no browser can be started here: {missing}; see `make test-browser`")


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """`start(words)` runs `jepa studio`; what still runs at the end is ended."""
    check_browser()
    started: list[subprocess.Popen[str]] = []

    def run(*words: object) -> Running:
        temporary = tmp_path_factory.mktemp("temporary")
        command = [sys.executable, "-m", "jepakit", "studio", *map(str, words), *SETTINGS]
        process = subprocess.Popen(
            [*command, "--device", "cpu", "--precision", "fp32"],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True},
            env={**os.environ, "TMPDIR": str(temporary), "COLUMNS": "400"},
        )
        started.append(process)
        said, until = "", time.monotonic() + 120
        assert process.stdout is not None
        while time.monotonic() < until:
            line = process.stdout.readline()
            said += line
            if found := re.search(r"open (http://\S+/)", line):
                return Running(found[1], process, temporary)
            if not line:
                break
        pytest.fail(f"the studio did not start: {said}")

    yield run
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs, of grids of 6 x 6 and 4 x 4 patches."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        write_run(folder / "fine", data=DATA),
        write_run(folder / "coarse", data=DATA, encoder=COARSE),
    ]


@pytest.fixture(scope="session")
def studio(start: Callable[..., Running], runs: list[Path]) -> Running:
    """The two runs side by side."""
    return start(*runs)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    check_browser()
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)))
    # Inside a container Chromium cannot build its sandbox, and as root it will not try.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, studio: Running) -> Iterator[Callable[..., Any]]:
    """`visit(**options)` opens the page and waits for what the first example shows.

    Nothing may be asked of other machines, and no script may fail.
    """
    pages, wrong = [], []

    def note_request(request: Any) -> None:
        if not request.url.startswith((studio.url, "data:", "blob:")):
            wrong.append(f"asked {request.url}")

    def open_page(url: str = studio.url, **options: Any) -> Any:
        page = browser.new_page(**options)
        pages.append(page)
        page.set_default_timeout(PATIENCE)
        page.on("request", note_request)
        page.on("websocket", lambda socket: wrong.append(f"opened {socket.url}"))
        page.on("pageerror", lambda error: wrong.append(f"script failed: {error}"))
        page.goto(url)
        wait_for_status(page, "Done")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not wrong


def wait_for_status(page: Any, beginning: str) -> None:
    """Until the line that is read aloud begins so."""
    page.get_by_role("status").filter(has_text=re.compile(f"^{re.escape(beginning)}")).wait_for()
