"""Models on the Hub: published, downloaded, pinned, and used again without a connection."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars

from jepakit.models import Encoder
from jepakit.pretrained.hub import fetch, publish
from jepakit.pretrained.huggingface import write_huggingface
from jepakit.pretrained.weights import TARGET, Description, Weights
from jepakit.runs.weights import load_weights

NAME = "our-lab/tiny"
ADDRESS = f"https://huggingface.co/{NAME}"


class Hub(BaseHTTPRequestHandler):
    """A stand-in that speaks as much of the Hub's protocol as one small model needs."""

    commits: ClassVar[list[dict[str, bytes]]] = []  # all files, after each commit
    asked: ClassVar[list[str]] = []

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/preupload/main"):
            files = [
                {**f, "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return self.answer({"files": files})
        if self.path.endswith("/commit/main"):
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            self.commits.append({**(self.commits[-1] if self.commits else {}), **files})
            return self.answer(
                {"commitUrl": f"https://huggingface.co/{NAME}", "commitOid": sha(-1)}
            )
        return self.answer({"url": f"https://huggingface.co/{NAME}", "errors": [], "warnings": []})

    def do_GET(self) -> None:
        self.asked.append(self.path)
        parts = self.path.partition("?")[0].strip("/").split("/")
        if NAME not in self.path:
            return self.answer({"error": "no"}, 404, X_Error_Code="RepoNotFound")
        place = [sha(n) for n in range(len(self.commits))]
        revision = parts[-1] if "resolve" not in parts else parts[3]
        revision = place[-1] if revision in ("main", "tiny") else revision
        if revision not in place:
            return self.answer({"error": "no"}, 404, X_Error_Code="RevisionNotFound")
        files = self.commits[place.index(revision)]
        if "resolve" in parts:
            etag = f'"{hash(files[parts[-1]])}"'
            return self.answer(files[parts[-1]], ETag=etag, X_Repo_Commit=revision)
        if "tree" in parts:
            return self.answer(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": f"{hash(content)}"}
                    for name, content in files.items()
                ]
            )
        return self.answer(
            {"id": NAME, "sha": revision, "siblings": [{"rfilename": name} for name in files]}
        )

    do_HEAD = do_GET


def sha(number: int) -> str:
    return f"{number % max(1, len(Hub.commits)):040x}"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    path = template.removeprefix("https://huggingface.co")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_real_one")
    disable_progress_bars()
    Hub.commits.clear()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def tiny(seed: int) -> Weights:
    torch.manual_seed(seed)
    settings = Encoder.Settings(size=None, width=16, depth=1, num_heads=2, patch=8)
    state = dict(Encoder(settings, 3, (16, 16)).state_dict())
    return Weights({TARGET: state}, Description(encoder=settings, size=(16, 16)))


def written(folder: Path, seed: int) -> Path:
    folder.mkdir()
    write_huggingface(tiny(seed), folder)
    return folder


def first_weight(name: str, revision: str | None = None) -> torch.Tensor:
    loaded = load_weights(name, torch.device("cpu"), revision=revision)
    assert isinstance(loaded.encoder, Encoder)
    return loaded.encoder.patch_embed.proj.weight


def test_published_downloaded_pinned_and_offline(
    hub: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [tiny(seed).networks[TARGET]["patch_embed.proj.weight"] for seed in (0, 1)]
    for seed in (0, 1):
        address = publish(written(tmp_path / str(seed), seed), NAME)
        assert address.endswith(f"/{NAME}")
    assert "jepakit.json" in Hub.commits[0]

    assert torch.equal(first_weight(f"hf:{NAME}"), expected[1])
    assert torch.equal(first_weight(f"hf:{NAME}@{sha(0)}"), expected[0])
    assert torch.equal(first_weight(f"hf:{NAME}", revision=sha(0)), expected[0])

    with pytest.raises(ValueError, match="has no revision nowhere") as error:
        fetch(f"{NAME}@nowhere")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="the Hub has no open model our-lab/other"):
        fetch("our-lab/other")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    Hub.asked.clear()
    assert torch.equal(first_weight(f"hf:{NAME}"), expected[1])
    assert torch.equal(first_weight(f"hf:{NAME}@{sha(0)}"), expected[0])
    assert Hub.asked == []
    with pytest.raises(ValueError, match=r"not on this machine and the .* Hub cannot be reached"):
        fetch("our-lab/other")


def test_without_a_network_what_is_there_is_used(
    hub: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(written(tmp_path / "model", 0), NAME)
    first_weight(f"hf:{NAME}")
    nobody = "http://127.0.0.1:1"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    first_weight(f"hf:{NAME}")
    with pytest.raises(ValueError, match=r"not on this machine and the .* Hub cannot be reached"):
        fetch("our-lab/other")
    with pytest.raises(ValueError, match="cannot be published: run `hf auth login`"):
        publish(tmp_path / "model", NAME)


def test_names_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no name on the Hub: write hf:ORG/NAME"):
        fetch("../../secrets")
    with pytest.raises(ValueError, match="is no name on the Hub: write --push ORG/NAME"):
        publish(tmp_path, "alone")
