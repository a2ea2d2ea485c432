"""Signals that ask a run to stop: remembered, and obeyed between two steps."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")


class Interruption:
    """While entered, the first signal only sets `received`; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        for name in SIGNALS:
            number = getattr(signal, name, None)  # SIGUSR1 does not exist on Windows
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # `command &`
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)

    @property
    def was_asked(self) -> bool:
        """Whether a signal asked this process to stop."""
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal stopped: 128 + its number."""
        return 0 if self.received is None else 128 + self.received
