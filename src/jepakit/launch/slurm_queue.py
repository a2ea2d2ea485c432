"""What SLURM says about jobs and partitions, and signals to jobs: through its own commands."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

SECONDS = 60.0  # a controller that is busy answers late, one that is gone never
WAITING, RUNNING = ("PENDING", "REQUEUED", "SUSPENDED", "CONFIGURING"), ("RUNNING", "COMPLETING")

# Why a job waits, where it would wait for ever.
IN_VAIN = {
    "PartitionNodeLimit": "it asks for more nodes than the partition has or allows: lower nodes",
    "PartitionTimeLimit": "it asks for more time than the partition allows: lower time",
    "PartitionConfig": "the partition has no such nodes: lower nodes, cpus_per_task or memory",
    "BadConstraints": "no node can do what it asks for: look at constraint, memory, gpus_per_node",
    "AccountNotAllowed": "the account may not use this partition: set account",
    "InvalidAccount": "SLURM does not know the account: set account",
    "InvalidQOS": "SLURM does not know the quality of service: set qos",
    "JobHeldUser": "it is held: `scontrol release` lets it go on",
    "JobHeldAdmin": "an administrator holds it",
    "launch_failed_requeued_held": "starting it failed: `scontrol release` tries again",
}


@dataclass(frozen=True)
class JobState:
    """A job as SLURM sees it now."""

    number: str
    state: str  # PENDING, RUNNING, COMPLETED, FAILED, …
    reason: str = ""  # why it waits, or how it ended
    restarts: int = 0
    nodes: str = ""
    ran: str = ""  # h:min:s since it started last
    limit: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it will not run any more."""
        return self.state not in (*WAITING, *RUNNING)

    @property
    def waits_in_vain(self) -> str | None:
        """Why it would wait for ever, and what to change; None if it need not."""
        return IN_VAIN.get(self.reason) if self.state == "PENDING" else None


def is_here() -> bool:
    """Whether this machine has SLURM's commands."""
    return shutil.which("scontrol") is not None


def look_up(number: str) -> JobState | None:
    """A job's state; None if SLURM has forgotten it, or is not on this machine."""
    if not is_here():
        return None
    done = _run("scontrol", "show", "job", "-o", number)
    if done.returncode:
        return _from_accounting(number)
    facts = dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)
    if "JobState" not in facts:
        return None
    reason = facts.get("Reason", "")
    return JobState(
        number,
        facts["JobState"],
        "" if reason == "None" else reason,
        int(facts.get("Restarts", 0)),
        facts.get("NodeList", "").replace("(null)", ""),
        facts.get("RunTime", ""),
        facts.get("TimeLimit", ""),
    )


def _from_accounting(number: str) -> JobState | None:
    """Finished jobs are kept by `sacct`, on clusters that keep accounts."""
    if shutil.which("sacct") is None:
        return None
    fields = "State,NodeList,Elapsed,Timelimit"
    done = _run("sacct", "--noheader", "--allocations", "--parsable2", "-j", number, "-o", fields)
    line = done.stdout.partition("\n")[0]
    if done.returncode or not line:
        return None
    state, nodes, ran, limit = line.split("|")
    return JobState(number, state.split()[0], "", 0, nodes, ran, limit)


def send_signal(number: str, signal: str) -> None:
    """Send a signal to all processes of a job's steps; `ValueError` if SLURM refuses."""
    _checked("scancel", f"--signal={signal}", number)


def cancel(number: str) -> None:
    """Take a job out of the queue, or end it; `ValueError` if SLURM refuses."""
    _checked("scancel", number)


def requeue(number: str) -> None:
    """End a running job and queue it again; `ValueError` if SLURM refuses."""
    _checked("scontrol", "requeue", number)


def partitions() -> dict[str, bool]:
    """Every partition's name, and whether any node of it has GPUs; the default is also `""`."""
    found: dict[str, bool] = {}
    for line in _checked("sinfo", "--noheader", "-o", "%P|%G").splitlines():
        name, _, resources = line.partition("|")
        for key in {name.rstrip("*"), "" if name.endswith("*") else name.rstrip("*")}:
            found[key] = found.get(key, False) or re.search(r"\bgpu\b", resources) is not None
    return found


def _checked(*words: str) -> str:
    done = _run(*words)
    if done.returncode:
        raise ValueError(f"{' '.join(words)}: {last_line(done.stderr)}")
    return done.stdout


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
        )
    except FileNotFoundError:
        raise ValueError(f"{words[0]} is not here: type this on a node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise ValueError(f"SLURM did not answer `{' '.join(words)}` for {SECONDS:g} s") from None


def last_line(text: str) -> str:
    """What a program said last, without its name before it."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return re.sub(r"^\w+: (error: )?", "", lines[-1]) if lines else "no reason given"
