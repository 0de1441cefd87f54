"""A real Slurm of one node for a test: two made-up GPUs, all of it in one folder and on loopback.

Daemons, keys and states lie in the folder; nothing is written to /etc, and nothing is left running.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PACKAGES = ("munge", "slurm-client", "slurmctld", "slurmd")
TOOLS = ("sacct", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
PORTS = (36817, 36818)

SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock,cred_expire=10
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=1,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=10
MinJobAge=3600
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=200000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PreemptMode=OFF
PartitionName=scavenge Nodes={host} MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
GRES_CONF = """
AutoDetect=off
Name=gpu File=/dev/null
Name=gpu File=/dev/zero
"""
"""A GPU of Slurm's needs a device file; any will do."""


def install() -> None:
    """Install Debian's packages where they are missing; that needs root."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # where Debian has daemons, and not everybody's PATH
    if all(shutil.which(name) for name in ("munged", "slurmctld", "slurmd", "sbatch")):
        return
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise RuntimeError(f"needs {', '.join(PACKAGES)} installed, or root on Debian to do so")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES],
    ):
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)


class Cluster:
    """Use as a context: up at the beginning, down at the end, whatever happened in between."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.host = folder, socket.gethostname().partition(".")[0]
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.run("scancel", "--user=root", check=False)
        time.sleep(1)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for pid in self._left():
            os.kill(pid, signal.SIGKILL)

    @property
    def environment(self) -> dict[str, str]:
        """What a user's shell has, in which Slurm's tools are those of this cluster."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return os.environ | {"PATH": path, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str, check: bool = True) -> str:
        """Run one of Slurm's tools; return what it printed."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def _start(self) -> None:
        for name in ("bin", "run", "state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "run").chmod(0o755)
        (self.folder / "plugstack.conf").touch()
        facts = {"host": self.host, "folder": self.folder, "ports": PORTS}
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(**facts))
        (self.folder / "gres.conf").write_text(GRES_CONF)
        for tool in TOOLS:  # the plugin forgets SLURM_CONF on its way to a job's srun
            script = self.folder / "bin" / tool
            path = shutil.which(tool)
            script.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {path} "$@"\n')
            script.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        run = self.folder / "run"
        self._daemon(
            *("munged", "--foreground", "--force", f"--key-file={key}"),
            *(f"--socket={run}/munge.sock", f"--pid-file={run}/munged.pid"),
            *(f"--log-file={self.folder}/munged.log", f"--seed-file={run}/munged.seed"),
        )
        self._until(lambda: (run / "munge.sock").exists(), "munged")
        self._daemon("slurmctld", "-D", "-c")
        self._daemon("slurmd", "-D", "-N", self.host)
        self._until(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T", check=False), "the node")

    def _daemon(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.out", "wb") as out:
            self._daemons.append(
                subprocess.Popen(command, env=self.environment, stdout=out, stderr=out)
            )

    def _until(self, ready: Callable[[], bool], what: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                logs = "\n".join(p.read_text()[-2000:] for p in self.folder.glob("*.log"))
                raise RuntimeError(f"{what} did not come up in {seconds} s:\n{logs}")
            time.sleep(0.2)

    def _left(self) -> list[int]:
        """Processes of jobs that outlived their cluster."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in variables and any(v.startswith(b"SLURM_JOB_ID=") for v in variables):
                found.append(int(path.parent.name))
        return found
