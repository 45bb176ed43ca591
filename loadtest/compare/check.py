"""Looks whether a proxy does the work at all, before anybody measures how fast it does it."""

import http.client
import re
import socket
import ssl

from .failure import Failure
from .origin import PAGE_FIELDS, file_body
from .tls import SERVER_NAME
from .workloads import SMALL_BODY, TENANT_MARK, head

TENANTS_MAX = 200
ECHO_FIELDS = ("user-agent", "cookie", "referer", "x-request-id")
# What cellgate calls a request of a client that is no trusted proxy. Its default costs it that; the others pass on what comes.
MADE_ID = re.compile(r"\|[0-9a-f]{32}\|")


def check(peer, workload):
    """Every tenant gets the right answer, always from the same cell, and tenants are spread over all cells."""
    homes = [walk(peer, workload) for _ in range(2)]
    if homes[0] != homes[1]:
        raise Failure(f"{peer.name} takes a tenant to different cells")
    cells = set(homes[0].values())
    if workload.tenants > 1 and len(cells) != len(peer.site.cells):
        raise Failure(f"{peer.name} uses only the cells {sorted(cells)}")
    check_request_head(peer, workload)


def walk(peer, workload):
    """Asks for each tenant; returns the cell of each."""
    cells = {}
    connection = None
    for number in range(1, min(workload.tenants, TENANTS_MAX) + 1):
        tenant = f"tenant-{number}"
        connection = connection or connect(peer)
        answer, body = ask(connection, workload.request, tenant, workload.request_body_bytes)
        if problem := wrong(workload, answer, body):
            raise Failure(f"{peer.name} answers {tenant} wrongly: {problem}")
        cells[tenant] = answer.getheader("x-cell")
        if workload.connection_per_request:
            if connection.recv(1) != b"":
                raise Failure(f"{peer.name} leaves a connection open that was to be closed")
            connection.close()
            connection = None
    if connection:
        connection.close()
    return cells


def connect(peer):
    connection = socket.create_connection(("127.0.0.1", peer.port), timeout=10)
    if peer.site.protocol != "https":
        return connection
    context = ssl.create_default_context(cafile=peer.site.certificate)
    return context.wrap_socket(connection, server_hostname=SERVER_NAME)


def ask(connection, request, tenant, body_bytes=0):
    """One request over a connection that is kept; returns the answer's head and body."""
    connection.sendall(request.replace(TENANT_MARK, tenant).encode() + b"x" * body_bytes)
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer, answer.read()


def wrong(workload, answer, body):
    """What is wrong with an answer, or nothing."""
    if answer.status != 200:
        return f"status {answer.status}, {body[:200]!r}"
    if workload.answer_bytes == len(SMALL_BODY):
        expected = SMALL_BODY.encode()
    else:
        expected = file_body(workload.answer_bytes)
    if body != expected:
        return f"a body of {len(body)} bytes that begins with {body[:60]!r}"
    if workload.request_body_bytes and answer.getheader("x-body-bytes") != str(workload.request_body_bytes):
        return f"the cell got a body of {answer.getheader('x-body-bytes')} bytes"
    if "/page" in workload.request:
        for name, value in PAGE_FIELDS:
            if answer.getheader(name) != value:
                return f"{name} is {answer.getheader(name)!r}"
    if answer.version != 11:
        return "HTTP/1.0"
    return None


def check_request_head(peer, workload):
    """The cell gets the fields of the realistic head as they were sent."""
    if "Cookie:" not in workload.request:
        return
    fields = dict(re.findall(r"^([\w-]+): (.*)\r$", workload.request, re.M))
    lines = [f"{name}: {value}" for name, value in fields.items() if name not in ("Host", "x-tenant-id")]
    with connect(peer) as connection:
        _, body = ask(connection, head("GET", "/echo?a=b", *lines), "tenant-1")
    lowered = {name.lower(): value for name, value in fields.items()}
    expected = "|".join([*(lowered[name] for name in ECHO_FIELDS), "a=b"])
    if MADE_ID.sub(f"|{lowered['x-request-id']}|", body.decode()) != expected:
        raise Failure(f"{peer.name} passes another head on: {body.decode()!r}")
