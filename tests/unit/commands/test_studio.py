"""jepa studio before it serves: what is told of mistakes, hosts and what is not installed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jepakit.cli import main
from jepakit.commands import studio
from jepakit.commands.studio import Asked, open_all
from jepakit.runs.seeing.settings import SeeingSettings

ASKED = Asked(
    **{"data": "scenes", "size": None, "precision": "fp32", "split": None, "values": None},
    **{"decoder": None, "device": "cpu", "host": "127.0.0.1", "port": None, "open": False},
)


def failed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["studio", *words])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(autouse=True)
def without_gradio(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is never served."""
    page = ModuleType("jepakit.runs.studio.page")
    page.mount_page = lambda app, studio: app  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, page.__name__, page)
    monkeypatch.setattr(studio, "new_app", lambda host: None)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")


def test_all_models_look_at_the_first_ones_pictures(home: Path) -> None:
    run = home / "runs" / "my-run"
    own = open_all([str(run), str(run)], ASKED.model_copy(update={"data": None}), SeeingSettings())
    assert own[0].source is own[1].source
    given = open_all([str(run)], ASKED, SeeingSettings(num_pictures=2))
    assert len(given[0].places) == 2


def test_mistakes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(home / "runs" / "my-run")
    assert "name a model: jepa studio runs/NAME" in failed([], capsys)
    assert "no-such-run" in failed(["no-such-run"], capsys)
    assert "num_pictures" in failed([run, "num_picture=3"], capsys)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = failed([run, "--data", "scenes", "--port", port], capsys)
        assert f"--port {port} cannot be used" in told


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_other_hosts_are_warned_about_and_nothing_stays(
    host: str,
    warned: bool,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    seen: dict[str, Any] = {}
    opened: list[str] = []

    def serve(app: Any, listening: socket.socket) -> None:
        seen.update(os.environ)
        assert Path(seen["GRADIO_TEMP_DIR"]).is_dir()
        listening.close()

    monkeypatch.setattr(studio, "serve", serve)
    monkeypatch.setattr(studio.webbrowser, "open", opened.append)
    words = [str(home / "runs" / "my-run"), "--data", "scenes", "--host", host, "--open"]
    with pytest.raises(SystemExit) as ended:
        main(["studio", *words])
    assert not ended.value.code
    told = capsys.readouterr().out
    assert ("without a password" in told) == warned
    assert f"open {opened[0]}" in told
    assert seen["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not Path(seen["GRADIO_TEMP_DIR"]).exists()


def test_without_gradio_the_message_says_what_to_install(home: Path) -> None:
    code = (
        "import sys; sys.modules['gradio'] = None; from jepakit.cli import main; "
        "main(['studio', sys.argv[1], '--data', 'scenes'])"
    )
    command = [sys.executable, "-c", code, str(home / "runs" / "my-run")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr == "jepa: the studio needs gradio: pip install 'jepakit[studio]'\n"
