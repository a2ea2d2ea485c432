"""A cluster's node on this machine: processes with a network and a host name of their own."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.slurm_files import Network

# The end of the process that starts a daemon is the end of the daemon.
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
ISOLATED = ("unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child=KILL")
SCRIPT = """
set -e
hostname {name}
mount --bind {root}/hosts /etc/hosts
until ip link show {inside} >/dev/null 2>&1; do
  [ -d {root} ] || exit 1
  sleep 0.02
done
ip link set lo up
ip address add {address}/24 dev {inside}
# The same card after every start: neighbours remember it for a minute.
ip link set {inside} address {card} up
exec slurmd -D -N {name}
"""


class Node:
    """`slurmd` in namespaces of its own, on a cable to the bridge."""

    def __init__(self, name: str, root: Path, network: Network, bridge: str) -> None:
        self.name, self.root, self.network, self.bridge = name, root, network, bridge
        self.process: subprocess.Popen[bytes] | None = None
        self.number_of_starts = 0
        self.cable = ""

    def start(self, environment: Mapping[str, str]) -> None:
        """Plug the cable in and start `slurmd`."""
        self.number_of_starts += 1
        stem = f"{self.bridge}{self.name[-1]}{self.number_of_starts}"
        self.cable, inside = f"{stem}o", f"{stem}i"
        address = self.network.address(self.name)
        card = "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))
        script = SCRIPT.format(
            name=self.name, root=self.root, inside=inside, address=address, card=card
        )
        with (self.root / "log" / f"node-{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*WITH_PARENT, *ISOLATED, "--mount-proc", "bash", "-c", script],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        ip("link", "add", self.cable, "type", "veth", "peer", "name", inside)
        ip("link", "set", self.cable, "master", self.bridge, "up")
        # `unshare` enters the new network before anything else can ask for its cable.
        wait_for_network(self.process.pid)
        ip("link", "set", inside, "netns", str(self.process.pid))

    def kill(self) -> None:
        """As a power cut: `slurmd`, its steps and all their processes end at once."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=20)
        self.process = None
        # Open connections can keep a dead network alive for a while, and its cable with it.
        ip("link", "delete", self.cable, may_fail=True)


def wait_for_network(pid: int) -> None:
    """Return when a process has left this process's network."""
    ours = Path("/proc/self/ns/net").readlink()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/ns/net").readlink() == ours:
        assert time.monotonic() < deadline, "unshare did not start"
        time.sleep(0.01)


def ip(*words: str, may_fail: bool = False) -> None:
    """Run `ip`, from iproute2."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20)
    if done.returncode and not may_fail:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
