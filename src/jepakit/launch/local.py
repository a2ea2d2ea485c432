"""One process per device on this machine; the first that fails ends them all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from jepakit.core.parent import LAUNCHER

# A closed terminal is told to the processes as SIGTERM, which they obey by saving first.
FORWARDED = {
    **{name: name for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")},
    "SIGHUP": "SIGTERM",
}
SECONDS_TO_END = 20.0  # for processes whose neighbour died, before they are killed
SECONDS_BETWEEN_LOOKS = 0.05


def launch(
    command: Sequence[str], devices: Sequence[str], seconds_to_end: float = SECONDS_TO_END
) -> int:
    """Run the command once per device, each as a rank of one group; returns the exit code.

    Every process gets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT and JEPAKIT_DEVICE.
    Signals that ask to stop are passed on. If a process fails, the others are ended and its code
    is returned: 128 + the signal's number if a signal killed it.
    """
    return _Group(command, devices).wait(seconds_to_end)


class _Group:
    """The processes, and what was asked of them."""

    def __init__(self, command: Sequence[str], devices: Sequence[str]) -> None:
        self.command, self.devices = list(command), list(devices)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.passed_on: set[int] = set()

    def wait(self, seconds_to_end: float) -> int:
        """Start all, wait for all, and leave none behind."""
        before = self._listen()
        try:
            for rank, settings in enumerate(environments(self.devices)):
                # A session of its own: Ctrl-C reaches a process once, from us, not twice.
                process = subprocess.Popen(
                    self.command,
                    env={**os.environ, **settings, LAUNCHER: str(os.getpid())},
                    stdout=subprocess.DEVNULL if rank else None,
                    start_new_session=True,
                )
                self.processes.append(process)
            return self._watch()
        finally:
            self._end(seconds_to_end)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _watch(self) -> int:
        while True:
            codes = [process.poll() for process in self.processes]
            failed = [(c, rank) for rank, c in enumerate(codes) if c and not self._was_asked(c)]
            if failed:
                code, rank = min(failed)  # one that a signal killed rather than its neighbours
                self._tell(rank, code)
                return exit_code(code)
            if None not in codes:
                return next((exit_code(code) for code in codes if code), 0)
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _was_asked(self, code: int) -> bool:
        """Whether this is how a process ends that obeyed a signal which we passed on."""
        return exit_code(code) - 128 in self.passed_on

    def _tell(self, rank: int, code: int) -> None:
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        print(
            f"jepa: process {rank} on {self.devices[rank]} failed ({reason}); "
            "ending the other processes",
            file=sys.stderr,
            flush=True,
        )

    def _end(self, seconds: float) -> None:
        """Ask those still running to end, then make them."""
        running = [process for process in self.processes if process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + seconds
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _listen(self) -> dict[int, Any]:
        """Pass signals on from now; returns who listened before."""
        before = {}
        for name in FORWARDED:
            number = getattr(signal, name, None)  # some do not exist on Windows
            if number is None or signal.getsignal(number) == signal.SIG_IGN:  # nohup
                continue
            before[number] = signal.signal(number, self._pass_on)
        return before

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        wanted = signal.Signals[FORWARDED[signal.Signals(number).name]]
        self.passed_on.add(wanted)
        for process in self.processes:
            process.send_signal(wanted)


def environments(devices: Sequence[str]) -> list[dict[str, str]]:
    """The variables that tell each process its place."""
    everybody = {
        "WORLD_SIZE": str(len(devices)),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    sharing = sum(device == "cpu" for device in devices)
    if sharing > 1 and "OMP_NUM_THREADS" not in os.environ:
        everybody["OMP_NUM_THREADS"] = str(max(1, num_cores() // sharing))
    return [
        {**everybody, "RANK": str(rank), "LOCAL_RANK": str(rank), "JEPAKIT_DEVICE": device}
        for rank, device in enumerate(devices)
    ]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def exit_code(code: int) -> int:
    """A process's code as a shell gives it: 128 + the number of the signal that killed it."""
    return 128 - code if code < 0 else code
