"""Instructions in user space per request, counted by callgrind: a figure that noise of the machine does not touch."""

import re
import shutil
import subprocess
from dataclasses import replace

from . import load
from .failure import Failure

CONNECTIONS = 16
WARM_UP_SECONDS = 1
COUNTED_SECONDS = 4
CONTROL_SECONDS_MAX = 60


def measure(bench, workload, names):
    """One round, with a dict by peer."""
    if not shutil.which("valgrind"):
        raise Failure("valgrind is missing")
    workload = replace(workload, connections=CONNECTIONS, tenants=50)
    figures = {}
    for name in names:
        out = bench.folder / f"callgrind.{name}"
        # The valgrind of today takes no part of the processor's newest instructions: libraries choose older ones there.
        wrapper = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}")
        with bench.running(workload, [name], wrapper=wrapper) as (peer,):
            figures[name] = measure_peer(bench, workload, peer, out)
    return [figures]


def measure_peer(bench, workload, peer, out):
    request_file = bench.request_file(workload)
    load.wrk(workload, peer.port, WARM_UP_SECONDS, request_file)
    control(peer, "--instr=on")
    seen = load.wrk(workload, peer.port, COUNTED_SECONDS, request_file)
    control(peer, "--instr=off")
    control(peer, "--dump")
    total = instructions_of((out.parent / f"{out.name}.1").read_text())
    return {"requests": seen.requests, "instructions": round(total / seen.requests)}


def control(peer, *arguments):
    done = subprocess.run(
        ["callgrind_control", *arguments, str(peer.process.pid)],
        capture_output=True,
        text=True,
        timeout=CONTROL_SECONDS_MAX,
        check=False,
    )
    if done.returncode:
        raise Failure(f"callgrind_control {arguments[0]} failed: {done.stdout}{done.stderr}")


def instructions_of(profile):
    found = re.search(r"^totals: (\d+)", profile, re.M)
    if not found:
        raise Failure("callgrind wrote no totals")
    return int(found.group(1))
