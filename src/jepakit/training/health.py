"""Noticing a step that is not finite before it reaches the weights, without waiting for the GPU."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from jepakit.core.distributed import world_size


class NotFinite(RuntimeError):
    """A loss or gradient was not finite at `step`. The weights are as they were before it."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss or its gradient is not finite at step {step}")
        self.step = step


class Health:
    """Judges every step on the device; all processes come to the same verdict.

    On a CPU, or where the optimizer runs there, the verdict is read at once. On a GPU reading would
    stall the queue, so the optimizer is told (`found_inf`) to skip on the device, from the bad step
    on, and the host learns of it one step later. The same message carries whether any process was
    asked to stop, and whether it is time to save: spread networks are saved by all processes after
    the same step.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        trained = optimizer.param_groups[0]["params"][0]
        self.deferred = device.type == trained.device.type == "cuda"
        self.ever_bad = torch.zeros((), device=device)
        self.pending: tuple[int, Tensor, torch.cuda.Event] | None = None
        self.stop_agreed = self.save_agreed = False

    def judge(
        self,
        step: int,
        loss: Tensor,
        gradient_norm: Tensor,
        stop_asked: bool,
        save_asked: bool = False,
    ) -> None:
        """Look at a step between backward and optimizer step; raises `NotFinite`."""
        bad = ~torch.isfinite(loss.detach() + gradient_norm)
        asked = [loss.new_full((), float(wish)) for wish in (stop_asked, save_asked)]
        verdict = torch.stack([torch.maximum(self.ever_bad, bad.float()), *asked]).detach()
        if world_size() > 1:
            dist.all_reduce(verdict, op=dist.ReduceOp.MAX)
        self.ever_bad = verdict[0]
        if not self.deferred:
            self._act(step, verdict)
            return
        self.optimizer.found_inf = self.ever_bad  # type: ignore[attr-defined]
        earlier, self.pending = self.pending, self._post(step, verdict)
        if earlier is not None:
            earlier[2].synchronize()
            self._act(earlier[0], earlier[1])

    def settle(self) -> None:
        """Read the verdict that is still under way (before weights are saved)."""
        if self.pending is not None:
            step, verdict, event = self.pending
            self.pending = None
            event.synchronize()
            self._act(step, verdict)

    def _act(self, step: int, verdict: Tensor) -> None:
        bad, stop, save = verdict.tolist()
        if bad:
            raise NotFinite(step)
        self.stop_agreed = self.stop_agreed or bool(stop)
        self.save_agreed = self.save_agreed or bool(save)

    @staticmethod
    def _post(step: int, verdict: Tensor) -> tuple[int, Tensor, torch.cuda.Event]:
        copy = torch.empty(3, pin_memory=True)
        copy.copy_(verdict, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        return step, copy, event
