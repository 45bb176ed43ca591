"""The cells: one nginx on four ports, the same for every proxy, on the load generator's core."""

import re
import urllib.request
from dataclasses import dataclass

from .workloads import KIB, MIB, SMALL_BODY

# With these an answer to the realistic head has 10 fields: nginx adds Server, Date, Content-Type, Content-Length and
# Connection.
PAGE_FIELDS = (
    ("Cache-Control", "private, no-cache"),
    ("ETag", 'W/"5e1f-18c7a0b2f30"'),
    ("Set-Cookie", "seen=1764201600; Path=/; HttpOnly; SameSite=Lax"),
    ("Vary", "Accept-Encoding, Cookie"),
)

# nginx's `return` answers before it has read a request's body, and a proxy may then give the rest up. `mirror` reads
# the whole body first; then the static file refuses a POST with 405, which becomes the answer.
CONFIG = """worker_processes 1; daemon off; pid {folder}/origin.pid; error_log {folder}/origin.err warn;
worker_rlimit_nofile {descriptors};
events {{ worker_connections 16384; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; client_header_timeout 3600s; tcp_nopush on; sendfile on;
  client_max_body_size 4m; client_body_buffer_size 2m; open_file_cache max=16;
  {temp}
{servers}  server {{ listen 127.0.0.1:{status}; location / {{ stub_status; }} }}
}}
"""

SERVER = """  server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}/www; add_header x-cell {cell};
    location / {{ return 200 "{body}"; }}
    location /page {{ add_header x-cell {cell}; {fields} return 200 "{body}"; }}
    location /echo {{ return 200 "$http_user_agent|$http_cookie|$http_referer|$http_x_request_id|$args"; }}
    location /files {{ }}
    location /upload {{ mirror /discard; error_page 405 =200 @taken; }}
    location = /discard {{ internal; return 204; }}
    location @taken {{ add_header x-cell {cell}; add_header x-body-bytes $content_length; return 200 "{body}"; }} }}
"""


def temp_paths(folder):
    """Where nginx would put what does not fit into memory; by default it wants folders of root's."""
    kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    return " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)


def quoted(value):
    return "'" + value + "'"


def render(folder, cells, status, descriptors):
    body = SMALL_BODY.replace("\n", "\\n")
    fields = " ".join(f"add_header {name} {quoted(value)};" for name, value in PAGE_FIELDS)
    servers = "".join(
        SERVER.format(port=port, folder=folder, cell=f"c{n}", body=body, fields=fields)
        for n, port in enumerate(cells, 1)
    )
    return CONFIG.format(
        folder=folder, temp=temp_paths(folder), servers=servers, status=status, descriptors=descriptors
    )


def write_files(folder):
    www = folder / "www" / "files"
    www.mkdir(parents=True)
    (www.parent / "upload").touch()
    for name, size in (("64k", 64 * KIB), ("1m", MIB)):
        (www / name).write_bytes(file_body(size))


def file_body(size):
    line = b"the quick brown fox jumps over the lazy dog 0123456789 abcdefg\r\n"
    return (line * (size // len(line) + 1))[:size]


@dataclass(frozen=True)
class Counts:
    """What the cells have seen so far."""

    connections: int
    requests: int

    def since(self, before):
        return Counts(self.connections - before.connections, self.requests - before.requests)


def counts(status_port):
    """The counters of nginx's stub_status, without the request that asks for them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{status_port}/", timeout=10) as answer:
        numbers = re.search(r"\n\s*(\d+) (\d+) (\d+)\s*\n", answer.read().decode())
    accepted, _, requests = (int(number) for number in numbers.groups())
    return Counts(accepted - 1, requests - 1)
