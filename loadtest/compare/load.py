"""The load generators: wrk and openssl as fast as they can, and oha at a fixed rate."""

import json
import os
import pathlib
import re
import subprocess
from dataclasses import dataclass

from .failure import Failure

SCRIPT = pathlib.Path(__file__).with_name("load.lua")
LOAD_CORE = "0"


@dataclass(frozen=True)
class Load:
    """What a generator saw in one slice."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


def wrk(workload, port, seconds, request_file):
    """Closed loop: each connection asks again as soon as it has its answer."""
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{workload.connections}", f"-d{seconds}s", "--timeout=10s"]
    command += ["-s", str(SCRIPT), f"{scheme(workload)}://127.0.0.1:{port}/"]
    environment = {
        **os.environ,
        "REQUEST": str(request_file),
        "BODY_BYTES": str(workload.request_body_bytes),
        "TENANTS": str(workload.tenants),
    }
    return parse_wrk(run(command, environment))


def scheme(workload):
    """Behind a proxy for TCP there is an HTTP server, too."""
    return "https" if workload.protocol == "https" else "http"


def parse_wrk(output):
    found = re.search(r"^requests (\d+) failed (\d+) duration_us (\d+) p50_us (\d+) p99_us (\d+)$", output, re.M)
    if not found:
        raise Failure(f"wrk says nothing of its requests:\n{output}")
    requests, failed, duration_us, p50_us, p99_us = (int(number) for number in found.groups())
    # wrk 4.1 takes a connection that the peer closes for a read error if no answer was due; those it also prints.
    if failed or requests == 0:
        raise Failure(f"{failed} of {requests} requests failed:\n{output}")
    return Load(requests, duration_us / 1e6, p50_us / 1e3, p99_us / 1e3)


def handshakes(port, seconds):
    """One connection after the other, each with a session of its own."""
    command = ["taskset", "-c", LOAD_CORE, "openssl", "s_time", "-new", "-tls1_3", "-time", str(seconds)]
    return parse_handshakes(run([*command, "-connect", f"127.0.0.1:{port}"], os.environ), seconds)


def parse_handshakes(output, seconds):
    found = re.search(r"^(\d+) connections in \d+ real seconds", output, re.M)
    if not found or int(found.group(1)) == 0:
        raise Failure(f"openssl says nothing of its connections:\n{output}")
    return Load(int(found.group(1)), seconds, 0, 0)


def oha(program, workload, port, seconds, rate):
    """Open loop: requests are due at fixed times, whether or not the earlier ones have been answered. The time counts
    from when a request was due, so a proxy that stands still is charged for those that had to wait meanwhile: without
    that, they would be left out just when it is slow (coordinated omission)."""
    command = ["taskset", "-c", LOAD_CORE, str(program), "--no-tui", "--output-format", "json", "--latency-correction"]
    command += ["--wait-ongoing-requests-after-deadline", "-c", str(workload.connections), "-z", f"{seconds}s"]
    command += ["-q", str(rate), "-H", "x-tenant-id: tenant-1", f"http://127.0.0.1:{port}/items?x=1"]
    return parse_oha(run(command, os.environ))


def parse_oha(output):
    report = json.loads(output)
    statuses, errors = report["statusCodeDistribution"], report["errorDistribution"]
    if errors or list(statuses) != ["200"]:
        raise Failure(f"requests failed: statuses {statuses}, errors {errors}")
    percentiles = report["latencyPercentiles"]
    return Load(statuses["200"], report["summary"]["total"], percentiles["p50"] * 1e3, percentiles["p99"] * 1e3)


def run(command, environment):
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise Failure(f"{command[3]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
