"""A studio as a user starts it, of networks made in a moment, and a real browser before it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tests.unit.conftest import write_run

from jepakit.runs.export import export_weights
from jepakit.runs.weights import load_weights

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
    """A studio's address, and the folder for its temporary files."""

    url: str
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
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs, of grids of 6 x 6 and 4 x 4 patches, and an encoder alone."""
    check_browser()
    folder = tmp_path_factory.mktemp("runs")
    fine = write_run(folder / "fine", data=DATA)
    coarse = write_run(folder / "coarse", data=DATA, encoder=COARSE)
    whole = load_weights(str(fine), torch.device("cpu")).weights()
    encoder = replace(whole, networks={"target_encoder": whole.networks["target_encoder"]})
    alone = folder / "alone.safetensors"
    export_weights(encoder, "safetensors", alone, {"noise": torch.rand(1, 3, 48, 48)})
    return [fine, coarse, alone]


@pytest.fixture(scope="session")
def studio(
    models: list[Path], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Running]:
    """All three, as a user starts it; SIGTERM ends it without traces."""
    temporary = tmp_path_factory.mktemp("temporary")
    command = [sys.executable, "-m", "jepakit", "studio", *map(str, models), *SETTINGS]
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--precision", "fp32"],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True},
        env={**os.environ, "TMPDIR": str(temporary), "COLUMNS": "400"},
    )
    try:
        request.getfixturevalue("browser")  # starts while the studio does
        yield Running(_address(process), temporary)
        assert list(temporary.iterdir())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert not list(temporary.iterdir())
    finally:
        process.kill()
        process.communicate()


def _address(process: subprocess.Popen[str]) -> str:
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if found := re.search(r"open (http://\S+/)", line):
            return found[1]
    pytest.fail(f"the studio did not start: {said}")


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

    def open_page(**options: Any) -> Any:
        page = browser.new_page(**options)
        pages.append(page)
        page.set_default_timeout(PATIENCE)
        page.on("request", note_request)
        page.on("websocket", lambda socket: wrong.append(f"opened {socket.url}"))
        page.on("pageerror", lambda error: wrong.append(f"script failed: {error}"))
        page.goto(studio.url)
        wait_for_status(page, "Done")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not wrong


def wait_for_status(page: Any, beginning: str) -> None:
    """Until the line that is read aloud begins so."""
    page.get_by_role("status").filter(has_text=re.compile(f"^{re.escape(beginning)}")).wait_for()
