"""Processes: their start and end, and what the kernel says of their CPU time and memory."""

import contextlib
import os
import re
import resource
import socket
import subprocess
import time
from pathlib import Path

from .failure import Failure

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 10


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def raise_descriptor_limit():
    """Lets this process and its children have as many descriptors as they may; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Process:
    """A server, with its children. Standard output and error go to files beside its configuration."""

    def __init__(self, name, command, folder, environment=None):
        self.name, self.command, self.folder, self.environment = name, command, folder, environment
        self.child = None

    def start(self, port):
        # In append mode, so that a log can be cut to nothing while it is written.
        with open(self.folder / f"{self.name}.out", "ab") as out, open(self.folder / f"{self.name}.log", "ab") as log:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, cwd=self.folder, env=self.environment
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            if self.child.poll() is not None:
                raise Failure(f"{self.name} ended immediately:\n{self.last_words()}")
            time.sleep(0.05)
        self.stop()
        raise Failure(f"{self.name} does not listen:\n{self.last_words()}")

    def last_words(self):
        texts = [(self.folder / f"{self.name}.{end}").read_text(errors="replace") for end in ("out", "log")]
        return "\n".join("\n".join(texts).splitlines()[-20:])

    def stop(self):
        if self.child is None or self.child.poll() is not None:
            return
        self.child.terminate()
        try:
            self.child.wait(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    @property
    def pid(self):
        return self.child.pid

    def pids(self):
        """The process and its children: nginx's master has a worker."""
        if self.child.poll() is not None:
            raise Failure(f"{self.name} ended in the middle:\n{self.last_words()}")
        return [self.pid, *children_of(self.pid)]

    def cpu_ns(self):
        """CPU time of all threads so far, in user space and in the kernel on their behalf."""
        return sum(run_time_ns(task) for pid in self.pids() for task in Path(f"/proc/{pid}/task").iterdir())

    def pss_bytes(self):
        """Memory in use, with shared pages divided among those who share them."""
        return sum(pss_bytes_of(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in self.pids())

    def descriptors(self):
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.pids())


def children_of(pid):
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += [int(child) for child in (task / "children").read_text().split()]
    return children


def run_time_ns(task):
    """The first of the three numbers of schedstat is the time on a CPU, in nanoseconds."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
        return int((task / "schedstat").read_text().split()[0])
    return 0


def pss_bytes_of(rollup):
    return int(re.search(r"^Pss:\s+(\d+) kB$", rollup, re.M).group(1)) * 1024


def busy_seconds(stat, core):
    """How long a core has been busy so far: all columns of /proc/stat but idle and waiting for a disk."""
    fields = re.search(rf"^cpu{core} (.*)$", stat, re.M).group(1).split()
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def connections_opened():
    """TCP connections that were accepted on this machine so far, by whomever."""
    names, values = (
        line.split()[1:] for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
    )
    return int(dict(zip(names, values, strict=True))["PassiveOpens"])
