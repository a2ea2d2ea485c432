"""What the daemons of a small SLURM cluster are told: settings, nodes, pretended GPUs."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path

# Requeued jobs usually wait for two minutes and scheduling for half of one: here for seconds.
SETTINGS = """\
ClusterName=mini
SlurmctldHost={host}({address})
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge/socket,cred_expire=5
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
PropagateResourceLimits=NONE
MailProg=/bin/true
FirstJobId={first_job}
KillWait=5
MinJobAge=3600
SlurmdTimeout=10
{gres}
{nodes}
PartitionName=lab Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={name} NodeAddr={address} Port=6818"
CLAIMS = "CPUs=64 RealMemory=1000000 State=UNKNOWN"  # `config_overrides`: believed


@dataclass(frozen=True)
class Network:
    """A network of the cluster's own: this machine is `.1`, the nodes follow."""

    prefix: str
    nodes: tuple[str, ...]

    @property
    def host(self) -> str:
        return f"{self.prefix}.1"

    def address(self, node: str) -> str:
        return f"{self.prefix}.{11 + self.nodes.index(node)}"

    def hosts_file(self) -> str:
        """What `/etc/hosts` says within a node: names are known, `localhost` is the node itself."""
        rows = [("127.0.0.1", "localhost"), (self.host, socket.gethostname())]
        rows += [(self.address(node), node) for node in self.nodes]
        return "".join(f"{address} {name}\n" for address, name in rows)


def slurm_conf(root: Path, network: Network, port: int, num_gpus: int) -> str:
    """The file that `SLURM_CONF` names."""
    gpus = f"Gres=gpu:{num_gpus}" if num_gpus else ""
    nodes = [
        f"{NODE.format(name=node, address=network.address(node))} {CLAIMS} {gpus}".rstrip()
        for node in network.nodes
    ]
    return SETTINGS.format(
        host=socket.gethostname(),
        address=network.host,
        port=port,
        root=root,
        # A number that was used before would find the files of that earlier job.
        first_job=int(time.time()) % 60_000_000,
        gres="GresTypes=gpu" if num_gpus else "",
        nodes="\n".join(nodes),
    )


def gres_conf(root: Path, num_gpus: int) -> str:
    """Which device files are the GPUs."""
    return f"Name=gpu File={root}/dev/gpu[0-{num_gpus - 1}]\n" if num_gpus else ""
