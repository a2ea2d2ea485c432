"""The studio's web server: it answers to this machine's name alone, and takes no large bodies."""

from __future__ import annotations

import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from jepakit.runs.studio.uploads import LARGEST_FILE

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_FIRST_PORT, _NUM_PORTS = 7860, 40
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LARGEST_BODY = LARGEST_FILE * 3 // 2  # base64 takes a third more
_STORING = "/upload"  # gradio's own way for files writes them to disk: it is closed


def is_local(host: str) -> bool:
    """Whether only this machine can reach it."""
    return host in _LOOPBACK


def new_app(host: str) -> Any:
    """An empty ASGI app. On this machine's own address it answers to no other name.

    A page of somebody else's whose name leads here (DNS rebinding) is thereby refused.
    """
    import fastapi
    from fastapi.middleware.trustedhost import TrustedHostMiddleware

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Gate)
    if is_local(host):
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
    return app


class Gate:
    """Refuses bodies that are too large, and what would store files."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        length = int(lengths[0]) if lengths and lengths[0].isdigit() else 0
        chunked = any(name == b"transfer-encoding" for name, _ in scope["headers"])
        if scope["path"].rstrip("/").endswith(_STORING):
            return await _refuse(send, 403, "The studio stores no files.")
        if length > _LARGEST_BODY or chunked:
            return await _refuse(send, 413, "The request is too large.")
        return await self.app(scope, receive, send)


async def _refuse(send: Send, status: int, sentence: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": sentence.encode()})


def listen(host: str, port: int | None) -> socket.socket:
    """A socket at the port, or at the first free one from 7860. `ValueError` if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ports = range(_FIRST_PORT, _FIRST_PORT + _NUM_PORTS) if port is None else [port]
    for number in ports:
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((host, number))
        except socket.gaierror as error:
            opened.close()
            raise ValueError(f"--host {host} is no address of this machine: {error}") from error
        except OSError as error:
            opened.close()
            reason = error
        else:
            opened.listen()
            return opened
    asked = f"--port {port}" if port is not None else f"ports {ports[0]} to {ports[-1]}"
    raise ValueError(f"{host}, {asked} cannot be used ({reason}): choose another with --port")


def address(opened: socket.socket) -> str:
    """What to type into a browser."""
    host, port = opened.getsockname()[:2]
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"


def serve(app: Any, opened: socket.socket) -> None:
    """Answer until Ctrl-C or SIGTERM, which become `SystemExit`: what is open gets closed."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="error",
        timeout_graceful_shutdown=1,  # open pages hold connections
        server_header=False,
    )
    with _signals_exit():
        uvicorn.Server(config).run(sockets=[opened])


@contextmanager
def _signals_exit() -> Iterator[None]:
    """The server passes on the signal that ended it; by default that would end us untidily."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {kind: signal.signal(kind, leave) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
