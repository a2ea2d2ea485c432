"""A real SLURM cluster of two nodes on this machine: `with MiniSlurm() as slurm: …`.

`python -m tests.cluster.mini_slurm COMMAND …` runs one command beside it, e.g. `bash`.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster.node import ISOLATED, WITH_PARENT, Node, ip
from tests.cluster.slurm_files import Network, gres_conf, slurm_conf

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "unshare", "ip", "setpriv", "mknod")
PACKAGES = "slurmctld slurmd slurm-client munge"
SECONDS = 300.0  # until something that should have happened counts as failed
NUMBER = itertools.count()
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")


def what_is_missing() -> str | None:
    """Why no cluster can be started here; None if one can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "a cluster on this machine needs root (namespaces, a bridge, device files)"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: apt install {PACKAGES})"
    if subprocess.run([*ISOLATED, "true"], capture_output=True, timeout=20).returncode:
        return "this container may not create namespaces (CAP_SYS_ADMIN)"
    return None


class MiniSlurm:
    """munged, slurmctld and two slurmd, each node in a network of its own; nothing stays behind.

    Every node claims 64 cores, 1 TB and `num_gpus` GPUs that are only device files.
    """

    def __init__(self, num_gpus: int = 8) -> None:
        self.num_gpus = num_gpus
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> MiniSlurm:
        self.root = Path(tempfile.mkdtemp(prefix="mini-slurm-", dir="/tmp"))
        try:
            self._prepare()
            self._start_munge()
            self._daemon("slurmctld", "-D", "-i")
            for name in self.nodes:
                self.start_node(name)
        except BaseException:
            print(self.logs(), file=sys.stderr)
            self.__exit__()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        for node in self.nodes.values():
            node.kill()
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=5)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(timeout=20)
        self.daemons.clear()
        ip("link", "delete", self.bridge, may_fail=True)
        shutil.rmtree(self.root)

    def _prepare(self) -> None:
        """Folders, settings, device files, and a bridge that the nodes' cables go to."""
        self.root.chmod(0o755)
        for name in ("munge", "state", "run", "log", "dev", "spool-n1", "spool-n2"):
            (self.root / name).mkdir(mode=0o755)
        own = os.getpid() * 7 + next(NUMBER)  # several at once, of one process or of several
        network = Network(f"10.{200 + own // 250 % 50}.{1 + own % 250}", ("n1", "n2"))
        (self.root / "hosts").write_text(network.hosts_file())
        conf = slurm_conf(self.root, network, free_port(), self.num_gpus)
        (self.root / "slurm.conf").write_text(conf)
        (self.root / "gres.conf").write_text(gres_conf(self.root, self.num_gpus))
        for number in range(self.num_gpus):
            os.mknod(self.root / "dev" / f"gpu{number}", 0o020666, os.makedev(1, 3))
        self.bridge = f"js{own % 10_000_000}"
        ip("link", "delete", self.bridge, may_fail=True)
        ip("link", "add", self.bridge, "type", "bridge")
        ip("address", "add", f"{network.host}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        self.nodes = {n: Node(n, self.root, network, self.bridge) for n in network.nodes}

    @property
    def environment(self) -> dict[str, str]:
        """For every program that shall find this cluster."""
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        return {**os.environ, "PATH": path, "SLURM_CONF": str(self.root / "slurm.conf")}

    def _daemon(self, *words: str) -> None:
        with (self.root / "log" / f"{words[0]}.out").open("ab") as log:
            daemon = subprocess.Popen(
                [*WITH_PARENT, *words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.daemons.append(daemon)

    def _start_munge(self) -> None:
        folder = self.root / "munge"
        key = folder / "key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid"}
        files |= {"log-file": "log", "seed-file": "seed"}
        words = [f"--{option}={folder / name}" for option, name in files.items()]
        self._daemon("munged", "--foreground", "--force", *words)
        wait_until((folder / "socket").exists, "munged opens its socket")

    def start_node(self, name: str) -> None:
        """Switch a node on; returns when it waits for jobs."""
        self.nodes[name].start(self.environment)

        def is_idle() -> bool:
            return self.run("sinfo", "-h", "-n", name, "-o", "%T", may_fail=True).strip() == "idle"

        wait_until(is_idle, f"node {name} is idle", self.logs)

    def kill_node(self, name: str) -> None:
        """As a power cut: `slurmd`, its steps and all their processes end at once."""
        self.nodes[name].kill()

    def run(self, *words: str, may_fail: bool = False, seconds: float = 60) -> str:
        """Run a command of this cluster; returns what it printed."""
        done = subprocess.run(
            words,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if done.returncode and not may_fail:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}{done.stdout}")
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What SLURM knows about a job: JobState, Reason, Restarts, …"""
        words = self.run("scontrol", "show", "job", "-o", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for_end(self, number: str, seconds: float = SECONDS) -> dict[str, str]:
        """The job when it ended; while it is queued again it has not."""
        wait_until(
            lambda: self.job(number)["JobState"] in ENDED,
            f"job {number} ends",
            lambda: f"{self.job(number)}\n{self.logs()}",
            seconds,
        )
        return self.job(number)

    def logs(self) -> str:
        """The last lines of every daemon."""
        told = []
        for path in sorted((self.root / "log").glob("*")):
            lines = path.read_text(errors="replace").splitlines()[-15:]
            told.append("\n".join([f"--- {path.name}", *lines]))
        return "\n".join(told)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def wait_until(
    happened: Callable[[], bool],
    what: str,
    explain: Callable[[], str] = str,
    seconds: float = SECONDS,
) -> None:
    """Return when it happened; `AssertionError` with the explanation if it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}\n{explain()}")
        time.sleep(0.05)


def main() -> int:
    """Run the words of the command line as a command beside a cluster."""
    missing = what_is_missing()
    if missing:
        print(f"SLURM cannot be started here: {missing}", file=sys.stderr)
        return 1
    with MiniSlurm() as slurm:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command's business
        try:
            return subprocess.run(sys.argv[1:] or ["bash"], env=slurm.environment).returncode
        finally:
            signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main())
