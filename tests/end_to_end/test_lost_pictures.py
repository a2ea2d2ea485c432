"""A server that goes away in the middle of a training: saved, told, continued, and nothing lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jepakit.data.packing import Packing
from jepakit.data.sources.procedural_scenes import ProceduralScenes

Jepa = Callable[..., Any]


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; after `most_shards` tar files it answers 503 for further ones."""

    num_shards, most_shards = 0, 10**9

    def do_GET(self) -> None:
        is_shard = self.path.endswith(".tar")
        Handler.num_shards += is_shard
        if is_shard and Handler.num_shards > Handler.most_shards:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    handler = partial(Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred scenes in ten shards or so."""
    folder = tmp_path_factory.mktemp("server")
    scenes = ProceduralScenes(ProceduralScenes.Settings(num_pictures=100, size=32))
    settings = Packing.Settings(format="raw", shard_bytes=60_000)
    (description,) = Packing(settings, {"all": scenes}, folder / "packed").run(lambda *_: None)
    assert len(description.shards) > 5
    return folder


def train(jepa: Jepa, config: Path, url: str) -> Any:
    """Two shards fit into the cache, so that every epoch fetches all of them anew."""
    settings = {
        "source": f"{{kind: shards, path: {url}/packed/index.json, cache_bytes: 150000, window: 1, "
        f"retries: 1, timeout: 5, cache: {config.parent / 'cache'}}}",
        "num_workers": 1,
        "normalization": "imagenet",
    }
    words = [f"data.{name}={value}" for name, value in settings.items()]
    return jepa("pretrain", config.name, *words, folder=config.parent)


def test_a_server_that_goes_away(
    jepa: Jepa, tiny: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole" / tiny.name
    whole.parent.mkdir()
    whole.write_text(tiny.read_text())
    with serving(packed) as url:
        undisturbed = train(jepa, whole, url)
        assert undisturbed.wait() == 0, undisturbed.said
        num_fetched, Handler.num_shards = Handler.num_shards, 0
        monkeypatch.setattr(Handler, "most_shards", num_fetched // 2)
        command = train(jepa, tiny, url)
        assert command.wait() == 3, command.said
        assert "503" in command.errors
        assert "the same command continues" in command.errors
        assert "Traceback" not in command.said
        saved = sorted((tiny.parent / "run/checkpoints").glob("step-*"))
        assert saved
        monkeypatch.setattr(Handler, "most_shards", 10**9)
        again = train(jepa, tiny, url)
        assert again.wait() == 0, again.said
        assert f"continuing at step {int(saved[-1].name[5:])} of 40" in again.said
    ending = "run/checkpoints/step-00000040/state.safetensors"
    expected, found = (load_file(folder / ending) for folder in (whole.parent, tiny.parent))
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
