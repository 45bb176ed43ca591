"""What is asked of the proxies: the requests, the answers of the cells, and who takes part in which workload.

Only data. How a workload is run is said in the modules named after its kind.
"""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * 1024

TENANT_MARK = "@TENANT@"
SMALL_BODY = "hello from the cell, with a body of one hundred bytes".ljust(99, ".") + "\n"

# The two that every other figure is compared with, and ours.
BASELINES = ("nginx", "haproxy")
OURS = "cellgate"
CORE = (*BASELINES, OURS)
# Peers that are known to cost much more take part where a bar or a reader needs them: a run has to end some time.
MANY = (*CORE, "envoy", "caddy", "bare-pingora")
EVERYONE = (*MANY, "cellgate-direct-off")
LARGE = (*CORE, "nginx-default-buffers")
ALL_PEERS = (*EVERYONE, "nginx-default-buffers")


@dataclass(frozen=True)
class Workload:
    """One kind of load: every connection sends `request` again and again, for one tenant after the other."""

    name: str
    title: str
    request: str
    answer_bytes: int
    peers: tuple[str, ...]
    kind: str = "cpu"  # or `latency`, `memory`, `instructions`
    request_body_bytes: int = 0
    connections: int = 64
    tenants: int = 1000
    access_log: bool = False
    connection_per_request: bool = False
    # What the proxy takes: `http`, `https`, or `tcp`, where it passes bytes on to one cell and knows nothing of requests.
    protocol: str = "http"
    # Nothing is asked: connections end after their TLS handshake, and each counts as a request.
    handshakes_only: bool = False


def head(method, path, *fields):
    """The bytes of a request's head, as wrk sends them."""
    lines = [f"{method} {path} HTTP/1.1", "Host: shop.example", *fields, f"x-tenant-id: {TENANT_MARK}"]
    return "\r\n".join(lines) + "\r\n\r\n"


SMALL = head("GET", "/items?x=1")
CLOSING = head("GET", "/items?x=1", "Connection: close")

# What a browser sends to an application behind a login: 11 fields with Host and the tenant.
BROWSER = head(
    "GET",
    "/page/orders/1048576?view=open&sort=date&limit=50",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: application/json, text/plain, */*",
    "Accept-Language: de-DE,de;q=0.8,en-US;q=0.5,en;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: https://shop.example/orders?view=open",
    "Cookie: session=7d9f1c2ab44e4f0c9c8f3d1e5b6a7089; theme=dark; consent=a1b2c3d4e5; cart=eyJpZCI6MTIzNDU2Nzg5MH0",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Site: same-origin",
    "x-request-id: 5b0c1f6e-8c0a-4a54-9d3e-3c1f0e9b7a21",
)


def upload(size):
    return head("POST", "/upload", "Content-Type: application/octet-stream", f"Content-Length: {size}")


WORKLOADS = (
    Workload("small", "small GET, 100-byte answer", SMALL, 100, EVERYONE),
    Workload("head", "realistic head: 11 fields, answer with 10", BROWSER, 100, EVERYONE),
    Workload("small-log", "small GET, access log on", SMALL, 100, CORE, access_log=True),
    Workload("head-log", "realistic head, access log on", BROWSER, 100, CORE, access_log=True),
    Workload("64k", "64 KiB answer", head("GET", "/files/64k"), 64 * KIB, (*MANY, "nginx-default-buffers")),
    Workload("1m", "1 MiB answer", head("GET", "/files/1m"), MIB, LARGE, connections=8),
    Workload("post-1k", "POST of 1 KiB", upload(KIB), 100, CORE, request_body_bytes=KIB),
    Workload(
        "upload-1m", "upload of 1 MiB", upload(MIB), 100, LARGE, request_body_bytes=MIB, connections=8, tenants=32
    ),
    Workload("connect", "a new connection per request", CLOSING, 100, CORE, connection_per_request=True),
    Workload("tls", "small GET over TLS 1.3", SMALL, 100, CORE, protocol="https"),
    Workload("tls-1m", "1 MiB answer over TLS 1.3", head("GET", "/files/1m"), MIB, CORE, connections=8, protocol="https"),
    Workload(
        "tls-connect",
        "a resumed TLS 1.3 session and a small GET",
        CLOSING,
        100,
        CORE,
        connection_per_request=True,
        protocol="https",
    ),
    Workload(
        "tls-handshake", "a full TLS 1.3 handshake, ECDSA P-256", SMALL, 100, CORE, protocol="https", handshakes_only=True
    ),
    Workload("tcp", "TCP: small GET over kept connections", SMALL, 100, CORE, tenants=1, protocol="tcp"),
    Workload(
        "tcp-1m", "TCP: 1 MiB from the cell", head("GET", "/files/1m"), MIB, CORE, connections=8, tenants=1, protocol="tcp"
    ),
    Workload(
        "tcp-upload-1m",
        "TCP: 1 MiB to the cell",
        upload(MIB),
        100,
        CORE,
        request_body_bytes=MIB,
        connections=8,
        tenants=1,
        protocol="tcp",
    ),
    Workload(
        "tcp-connect",
        "TCP: a new connection per request",
        CLOSING,
        100,
        CORE,
        connection_per_request=True,
        tenants=1,
        protocol="tcp",
    ),
    Workload("p99", "p99 at half of nginx's saturation, ms", SMALL, 100, CORE, kind="latency", tenants=1),
    Workload("memory", "bytes per idle connection, after a request", SMALL, 100, EVERYONE, kind="memory"),
    Workload(
        "tls-memory", "bytes per idle TLS connection, after a request", SMALL, 100, CORE, kind="memory", protocol="https"
    ),
    Workload(
        "tcp-memory",
        "bytes per idle TCP connection, after a request",
        SMALL,
        100,
        CORE,
        kind="memory",
        tenants=1,
        protocol="tcp",
    ),
    Workload(
        "instructions",
        "user instructions per small GET",
        SMALL,
        100,
        (*CORE, "cellgate-direct-off", "bare-pingora"),
        kind="instructions",
    ),
)
