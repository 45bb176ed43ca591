"""CPU time per request: every proxy in turn in short slices, again and again."""

import os
import time
from pathlib import Path

from . import load, stats
from .failure import Failure
from .peers import PEER_CORE
from .process import busy_seconds, connections_opened

# Of the requests, how many may have cost a new connection to a cell. A slice begins and ends with some.
RECONNECTS_PERCENT_MAX = 2
# Longer than any proxy keeps lines of its log to itself.
LOG_FLUSH_SECONDS = 1.5
# The kernel's own work is up to a few percent.
OTHERS_SHARE_MAX = 0.1


def measure(bench, workload, names):
    """A list of rounds, each with a dict by peer."""
    request_file = bench.request_file(workload)
    rounds = []
    with bench.running(workload, names) as peers:
        by_name = {peer.name: peer for peer in peers}
        logs = {peer.name: LogCount(peer) for peer in peers} if workload.access_log else {}
        for number in range(bench.rounds):
            figures = {}
            for name in stats.order(names, number):
                if name in logs:
                    logs[name].begin()
                figures[name] = measure_slice(bench, workload, by_name[name], request_file)
                if name in logs:
                    logs[name].requests += figures[name]["requests"]
            rounds.append(figures)
        check_logs(bench, workload, logs)
    check_neighbours(bench, workload, rounds)
    if workload.name == "small" and "nginx" in names:
        bench.saturation = stats.spread([figures["nginx"]["requests_per_s"] for figures in rounds]).median
    return rounds


def measure_slice(bench, workload, peer, request_file):
    counts, opened, busy = bench.counts(), connections_opened(), core_busy_seconds()
    before, began = peer.process.cpu_ns(), time.monotonic()
    if workload.handshakes_only:
        seen = load.handshakes(peer.port, bench.seconds)
    else:
        seen = load.wrk(workload, peer.port, bench.seconds, request_file)
    spent, took = peer.process.cpu_ns() - before, time.monotonic() - began
    opened, busy = connections_opened() - opened, core_busy_seconds() - busy
    counts = bench.counts().since(counts)
    check_connections(bench, workload, peer, seen, (opened, counts))
    return {
        "requests": seen.requests,
        "requests_per_s": round(seen.requests / seen.seconds, 1),
        "cpu_us": round(spent / seen.requests / 1e3, 3),
        "core_busy": round(spent / took / 1e9, 3),
        "core_others": round(max(0, busy / took - spent / took / 1e9), 3),
        "p50_ms": round(seen.p50_ms, 3),
        "p99_ms": round(seen.p99_ms, 3),
        "cell_connections": counts.connections,
    }


def check_connections(bench, workload, peer, seen, new):
    """Every answer is a cell's, connections to cells are kept where it is up to the proxy, and those of clients are new
    where they have to be."""
    opened, counts = new
    if workload.handshakes_only:
        if opened < seen.requests:
            raise Failure(f"{peer.name}: only {opened} connections for {seen.requests} handshakes")
        return
    if counts.requests < seen.requests:
        raise Failure(f"{peer.name}: the cells saw {counts.requests} of {seen.requests} requests")
    allowed = 4 * workload.connections + seen.requests * RECONNECTS_PERCENT_MAX // 100
    if counts.connections > allowed and workload.protocol != "tcp":
        bench.note(
            f"{workload.name}: {peer.kind.title} opened {counts.connections} connections to cells"
            f" for {seen.requests} requests"
        )
    if workload.connection_per_request and opened - counts.connections < seen.requests:
        raise Failure(f"{peer.name}: only {opened} connections for {seen.requests} requests")


def core_busy_seconds():
    return busy_seconds(Path("/proc/stat").read_text(), PEER_CORE)


def check_neighbours(bench, workload, rounds):
    """Others on the proxy's core empty its caches and make it wait."""
    others = stats.spread([one["core_others"] for figures in rounds for one in figures.values()]).median
    if others > OTHERS_SHARE_MAX:
        bench.note(f"{workload.name}: others used {100 * others:.0f} % of the core that the proxies should have alone")


class LogCount:
    """Counts the lines of an access log, and cuts it before it becomes large."""

    def __init__(self, peer):
        self.path, self.requests, self.lines = peer.access_log, 0, None

    def begin(self):
        """The lines of the slice before have been written by now: the other proxies had their turn meanwhile."""
        found = count_lines(self.path)
        # What was there at first is from the check.
        self.lines = 0 if self.lines is None else self.lines + found
        if self.path.exists():
            os.truncate(self.path, 0)

    def end(self):
        return self.lines + count_lines(self.path)


def count_lines(path):
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))


def check_logs(bench, workload, logs):
    """Whoever logs less than there was has had less to do."""
    if logs:
        time.sleep(LOG_FLUSH_SECONDS)
    for name, log in logs.items():
        lines = log.end()
        if lines < log.requests:
            lost = 100 * (1 - lines / log.requests)
            bench.note(
                f"{workload.name}: {name} wrote {lines:,} lines for {log.requests:,} requests, {lost:.2f} % less"
            )
