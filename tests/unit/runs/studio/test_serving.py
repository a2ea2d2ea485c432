"""The server's door: which addresses, names, bodies and paths it lets in."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jepakit.runs.studio import serving


def test_a_port_that_is_taken_is_told_and_a_free_one_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving.listen("127.0.0.1", 0) as first:
        taken = first.getsockname()[1]
        with pytest.raises(ValueError, match=f"--port {taken} cannot be used .* with --port"):
            serving.listen("127.0.0.1", taken)
        monkeypatch.setattr(serving, "_FIRST_PORT", taken)
        with serving.listen("127.0.0.1", None) as second:
            assert second.getsockname()[1] > taken
            assert serving.address(second) == f"http://127.0.0.1:{second.getsockname()[1]}/"


def test_hosts() -> None:
    assert serving.is_local("127.0.0.1")
    assert serving.is_local("localhost")
    assert not serving.is_local("0.0.0.0")
    with pytest.raises(ValueError, match="--host nowhere is no address"):
        serving.listen("nowhere", None)
    with serving.listen("0.0.0.0", 0) as everywhere:
        assert serving.address(everywhere).startswith(f"http://{socket.gethostname()}:")


def answered(scope: dict[str, Any]) -> int:
    """The status of an answer behind the gate."""
    statuses: list[int] = []

    async def inner(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.request"}

    # In a thread of its own: a browser's tests leave a loop running in this one.
    answering = threading.Thread(
        target=lambda: asyncio.run(serving.Gate(inner)(scope, receive, send))
    )
    answering.start()
    answering.join()
    return statuses[0]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/gradio_api/queue/join", [(b"content-length", b"1000")], 200),
        ("/gradio_api/queue/join", [(b"content-length", b"40000000")], 413),
        ("/gradio_api/queue/join", [(b"transfer-encoding", b"chunked")], 413),
        ("/gradio_api/upload", [(b"content-length", b"10")], 403),
        ("/gradio_api/upload/", [], 403),
        ("/", [], 200),
    ],
)
def test_the_gate(path: str, headers: list[tuple[bytes, bytes]], status: int) -> None:
    assert answered({"type": "http", "path": path, "headers": headers}) == status
