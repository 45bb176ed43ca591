"""Memory per idle connection: of connections that have not sent a byte, and of connections between two requests."""

import contextlib
import http.client
import select
import time

from . import check
from .failure import Failure
from .workloads import TENANT_MARK

CONNECTIONS = 10_000
# For the cells, files, checks and the programs themselves. A proxy may need two for each client: one is for its cell.
DESCRIPTORS_SPARE = 3_000
DESCRIPTORS_EACH = 2
# At the same time; so many connections to cells there are at most.
REQUESTS_AT_ONCE = 50
SETTLE_SECONDS_MAX = 10
SETTLE_STEP_SECONDS = 0.25


def measure(bench, workload, names):
    """One round, with a dict by peer: there is nothing to repeat, as it hardly differs from time to time."""
    count = min(CONNECTIONS, (bench.descriptors - DESCRIPTORS_SPARE) // DESCRIPTORS_EACH)
    if count < CONNECTIONS:
        bench.note(f"memory: {count:,} idle connections, because descriptors do not allow {CONNECTIONS:,}")
    figures = {}
    for name in names:
        with bench.running(workload, [name]) as (peer,):
            figures[name] = measure_peer(peer, workload, count)
    return [figures]


def measure_peer(peer, workload, count):
    before = settled(peer)
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(count):
            connections.append(stack.enter_context(check.connect(peer)))
        wait_for_all(peer, count)
        fresh = settled(peer)
        for first in range(0, count, REQUESTS_AT_ONCE):
            ask_all(workload, connections[first : first + REQUESTS_AT_ONCE])
        used = settled(peer)
        if closed := readable(connections):
            raise Failure(f"{peer.name} closed {closed} of the connections")
    return {
        "connections": count,
        "before_bytes": before,
        "fresh_bytes": round((fresh - before) / count),
        "used_bytes": round((used - before) / count),
    }


def ask_all(workload, connections):
    """One request over each, all of them in flight together."""
    request = workload.request.replace(TENANT_MARK, "tenant-1").encode()
    for connection in connections:
        connection.sendall(request)
    for connection in connections:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        if problem := check.wrong(workload, answer, answer.read()):
            raise Failure(f"an idle connection is answered wrongly: {problem}")


def readable(connections):
    """How many connections have something to read: nothing is due, so they were closed."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    return len(poll.poll(0))


def wait_for_all(peer, count):
    """Until the proxy has accepted all connections: the system accepts them long before."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while peer.process.descriptors() < count:
        if time.monotonic() > deadline:
            raise Failure(f"{peer.name} has only {peer.process.descriptors()} descriptors for {count} connections")
        time.sleep(SETTLE_STEP_SECONDS)


def settled(peer):
    """Memory in use, once it does not change any more."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    last = peer.process.pss_bytes()
    while time.monotonic() < deadline:
        time.sleep(SETTLE_STEP_SECONDS)
        now = peer.process.pss_bytes()
        if now == last:
            break
        last = now
    return last
