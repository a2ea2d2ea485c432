"""How the processes of a run find each other: all of them, within a minute, or none."""

from __future__ import annotations

import os
import socket
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from pydantic import Field

from jepakit.core import settings as core
from jepakit.core.distributed import Place
from jepakit.core.errors import RunFailed

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_TELL = 2.0  # the store lives in the first process: the others read the verdict there


class ProcessSettings(core.Settings):
    """How long processes wait for each other before they say who is missing, and end."""

    join_seconds: float = Field(50, gt=0, description="for all processes to come, at the beginning")
    hang_seconds: float = Field(
        600, gt=0, description="without progress, until the run ends and names who hangs"
    )


def join(place: Place, device: torch.device, settings: ProcessSettings, alone: bool) -> None:
    """Join the other processes; `RunFailed` on each of them, with the reason, if one is missing.

    nccl carries what lies on CUDA devices, gloo what lies on the host. A run of one joins nothing,
    unless it is to be a group of itself `alone`: spread networks (FSDP2) need one.
    """
    if place.world_size == 1 and not alone:
        return
    # Later than the watchdog of a training, which can tell more.
    timeout = timedelta(seconds=2 * settings.hang_seconds + 60)
    store: dist.Store = dist.HashStore()
    if place.world_size > 1:
        store = _meet(place, settings.join_seconds)
    store.set_timeout(timeout)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=place.rank,
        world_size=place.world_size,
        timeout=timeout,
        device_id=device if device.type == "cuda" else None,
    )


def _meet(place: Place, seconds: float) -> dist.Store:
    """The store that all processes share, once all of them have been there."""
    deadline = time.monotonic() + seconds
    address, port = _address()
    # torchrun keeps the store itself, and the same one for all attempts.
    is_kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    me = f"process {place.rank} of {place.world_size} on {socket.gethostname()}"
    try:
        whole = dist.TCPStore(
            address,
            port,
            place.world_size,
            is_master=place.is_first and not is_kept,
            timeout=timedelta(seconds=seconds),
            wait_for_workers=False,
        )
    except (RuntimeError, ValueError) as error:
        raise RunFailed(_unreachable(me, place, address, port, seconds, error)) from error
    store = dist.PrefixStore(f"jepakit/{attempt}", whole)
    try:
        store.set(f"here/{place.rank}", socket.gethostname())
        store.add("count", 1)
        while store.add("count", 0) < place.world_size:
            if store.check(["verdict"]):
                raise RunFailed(f"{me} ends: {store.get('verdict').decode()}")
            if time.monotonic() > deadline:
                _give_up(store, place, me, f"{address}:{port}", seconds)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    except dist.DistError as error:
        raise RunFailed(
            f"{me} waited for the others at {address}:{port} and lost the connection ({error}): "
            "process 0 says why it ended"
        ) from error
    return store


def _give_up(store: dist.Store, place: Place, me: str, address: str, seconds: float) -> None:
    """Say who is missing, to everybody."""
    others = range(place.world_size)
    missing = [str(rank) for rank in others if not store.check([f"here/{rank}"])]
    shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
    verdict = (
        f"of {place.world_size} processes {len(missing)} did not come to {address} within "
        f"{seconds:g} s: process {shown}. Look at their output; all need the same MASTER_ADDR, "
        "MASTER_PORT and WORLD_SIZE, and their machines must reach that address"
    )
    store.set("verdict", verdict)
    if place.is_first:
        time.sleep(_SECONDS_TO_TELL)
    raise RunFailed(f"{me} ends: {verdict}")


def _unreachable(
    me: str, place: Place, address: str, port: int, seconds: float, error: Exception
) -> str:
    first_line = str(error).splitlines()[0]
    if place.is_first:
        return (
            f"{me} cannot listen at {address}:{port} ({first_line}): choose another MASTER_PORT, "
            "and as MASTER_ADDR an address of this machine"
        )
    return (
        f"{me} did not reach process 0 at {address}:{port} within {seconds:g} s ({first_line}): "
        "is it running there, and does the network let this machine through?"
    )


def _address() -> tuple[str, int]:
    try:
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError):
        raise ValueError(
            "a run of several processes needs MASTER_ADDR (of process 0) and MASTER_PORT (a free "
            "port there): torchrun and `jepa pretrain --devices` set them"
        ) from None
