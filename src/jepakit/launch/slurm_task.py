"""What each task of a SLURM job does: train as one rank, and obey the cluster's signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from jepakit.core.parent import be_killed_with_parent
from jepakit.launch.local import exit_code, num_cores
from jepakit.launch.slurm_queue import requeue

SECONDS_BETWEEN_LOOKS = 0.2
WRONG_COMMAND = 2  # the exit code of a mistake that trying again does not mend
# Who sends these wants the run saved and ended. SLURM itself queues the job again if it shall be.
ENDED_AS_ASKED = {128 + signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGUSR1}
TO_BE_CONTINUED = 128 + signal.SIGUSR2


@dataclass
class Task:
    """One rank's training, in a process of its own, so that a signal is heard at any moment."""

    words: tuple[str, ...]  # after `jepa`
    run: Path  # the run folder
    logs: Path  # the job's own folder is `logs/job_<number>`
    device: str  # auto, cuda, cpu
    restarts: int
    seconds_to_save: int
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __call__(self) -> None:
        """Train; `RuntimeError` if that failed and the job is not queued again."""
        place = environment(self.device)
        command = [sys.executable, "-m", "jepakit", *self.words]
        # SLURM kills those that it knows. What this task started it may not know, and a training
        # that is left behind, waiting for a node that died, would keep the folder to itself.
        self.process = subprocess.Popen(
            command, env={**os.environ, **place}, preexec_fn=be_killed_with_parent
        )
        code = self._wait()
        if code in ENDED_AS_ASKED:
            print(f"rank {place['RANK']} ended as {signal.Signals(code - 128).name} asked")
            return
        if code == TO_BE_CONTINUED:
            # The first task is about to queue the job again (`save_and_end` below). Failing before
            # it did would end the job for good.
            time.sleep(self.seconds_to_save)
        elif code not in (0, WRONG_COMMAND) and self._queue_again(place["RANK"], code):
            sys.exit(code)
        if code:
            raise RuntimeError(f"rank {place['RANK']} ended with exit code {code}")

    def save_and_end(self) -> None:
        """Let the training save and end; returns when it did."""
        if self.process is not None:
            # Popen's own wait is under way in `__call__`, which this interrupts, and is not
            # reentrant; so look at the process without it.
            self.process.send_signal(signal.SIGUSR2)
            wait_for(self.process.pid, self.seconds_to_save)

    def _wait(self) -> int:
        assert self.process is not None
        while (code := self.process.poll()) is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return exit_code(code)

    def _queue_again(self, rank: str, code: int) -> bool:
        """Have SLURM end the other tasks and start anew; False if that was in vain too often."""
        number = os.environ["SLURM_JOB_ID"]
        folder = self.logs / f"job_{number}" / "failures"
        if in_vain(folder, newest_checkpoint(self.run)) > self.restarts:
            print(f"rank {rank} failed (exit code {code}); {self.restarts} restarts led no further")
            return False
        print(f"rank {rank} failed (exit code {code}): the job is queued again", flush=True)
        try:
            requeue(number)
        except ValueError as error:  # another rank was first, and this one is about to be ended
            print(error, flush=True)
            time.sleep(self.seconds_to_save)
        return True


def in_vain(failures: Path, checkpoint: str) -> int:
    """Notes that this start failed; how many starts did since the newest checkpoint was written.

    A file per start: several ranks of one that fail count once.
    """
    failures.mkdir(parents=True, exist_ok=True)
    (failures / os.environ.get("SLURM_RESTART_COUNT", "0")).write_text(checkpoint)
    return sum(path.read_text() == checkpoint for path in failures.iterdir())


def newest_checkpoint(run: Path) -> str:
    """The name of the run's newest checkpoint; empty if there is none."""
    return max((path.name for path in (run / "checkpoints").glob("step-*")), default="")


def environment(device: str) -> dict[str, str]:
    """This task's place, from SLURM's variables; the batch script has set MASTER_ADDR and _PORT."""
    variables = {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": os.environ["SLURM_NTASKS"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
    }
    if device == "cpu":
        variables["JEPAKIT_DEVICE"] = "cpu"
    elif device == "cuda":
        variables["JEPAKIT_DEVICE"] = f"cuda:{visible_device(int(variables['LOCAL_RANK']))}"
    if "OMP_NUM_THREADS" not in os.environ:
        tasks, nodes = (int(os.environ[f"SLURM_{name}"]) for name in ("NTASKS", "JOB_NUM_NODES"))
        share = max(1, num_cores() // max(1, tasks // nodes))
        cores = int(os.environ.get("SLURM_CPUS_PER_TASK", share))
        variables["OMP_NUM_THREADS"] = str(min(cores, num_cores()))
    return variables


def visible_device(local_rank: int) -> int:
    """A task that is shown a single GPU uses it; one that is shown all uses its own."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return 0 if len(shown) == 1 and shown[0] else local_rank


def wait_for(pid: int, seconds: int) -> None:
    """Return when a child process ended, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                return
        except ChildProcessError:
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)
