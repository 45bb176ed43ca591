#!/usr/bin/env python3
"""Compares cellgate with nginx and HAProxy: the same work, one core for each proxy, in turn, in one run.

The work: a tenant header decides which of four cells answers; 100-byte answers, keep-alive, 64 connections. The cells
are one nginx on four ports, pinned to core 0 together with wrk; each proxy in turn has core 1 for itself. Told are the
medians over all rounds of CPU time per request (user and system, from /proc/PID/stat), requests a second and the 99th
percentile of latency. Before anything is measured, every proxy answers for 1,000 tenants and each answer is checked.

Needs Linux with two cores, nginx, haproxy, wrk and taskset. Ports are free ones; files go to a temporary folder.

    make release && loadtest/compare.py [--rounds 5] [--seconds 5] [--binary target/release/cellgate-proxy]
"""

import argparse
import contextlib
import http.client
import os
import pathlib
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TENANTS = 1000
CONNECTIONS = 64
CELLS = 4
BODY = "hello from the cell, this is a small body of about 100 bytes............................"

ORIGIN = """worker_processes 1; daemon off; pid {dir}/origin.pid; error_log {dir}/origin.err;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  {temp}
{servers}}}
"""

NGINX = """worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.err;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  {temp}
  split_clients $http_x_tenant_id $cell {{ 25% c1; 25% c2; 25% c3; * c4; }}
{upstreams}  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://$cell; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}
"""

HAPROXY = """global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  http-reuse always
frontend edge
  bind 127.0.0.1:{port}
  use_backend c%[req.hdr(x-tenant-id),xxh32,mod(4),add(1)]
{backends}"""

CELLGATE = """listeners: [{{ name: edge, address: "127.0.0.1:{port}" }}]
tenant_key: [{{ header: x-tenant-id }}]
table: {{ path: table.yaml }}
state_dir: state
threads: 1
admin: {{ address: "127.0.0.1:{admin}" }}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def temp_paths(folder):
    kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    return " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)


class Peer:
    """A proxy under test: how it is started, and on which port it listens."""

    def __init__(self, name, command, port, folder):
        self.name, self.command, self.port, self.folder = name, command, port, folder
        self.process = None

    def start(self, core):
        log = open(self.folder / f"{self.name}.log", "wb")
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *self.command], stdout=log, stderr=log, cwd=self.folder
        )
        wait_for_port(self.port, self)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=10)

    def cpu_seconds(self):
        """User and system time of the process and its children (nginx's worker does the work)."""
        pids = [self.process.pid, *children_of(self.process.pid)]
        return sum(cpu_seconds_of(pid) for pid in pids)


def children_of(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


def cpu_seconds_of(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for_port(port, peer):
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        if peer.process.poll() is not None:
            sys.exit(f"{peer.name} ended at once; see {peer.folder / (peer.name + '.log')}")
        time.sleep(0.05)
    sys.exit(f"{peer.name} does not listen on port {port}")


def make_peers(folder, binary):
    cells = [free_port() for _ in range(CELLS)]
    temp = temp_paths(folder)
    servers = "".join(
        f'  server {{ listen 127.0.0.1:{port}; location / {{ add_header x-cell c{n};'
        f' return 200 "{BODY}\\n"; }} }}\n'
        for n, port in enumerate(cells, 1)
    )
    (folder / "origin.conf").write_text(ORIGIN.format(dir=folder, temp=temp, servers=servers))
    origin = Peer("origin", ["nginx", "-p", folder, "-c", folder / "origin.conf"], cells[0], folder)

    port = free_port()
    upstreams = "".join(
        f"  upstream c{n} {{ server 127.0.0.1:{cell}; keepalive 128; keepalive_requests 1000000000; }}\n"
        for n, cell in enumerate(cells, 1)
    )
    conf = NGINX.format(dir=folder, temp=temp, upstreams=upstreams, port=port)
    (folder / "nginx.conf").write_text(conf)
    nginx = Peer("nginx", ["nginx", "-p", folder, "-c", folder / "nginx.conf"], port, folder)

    port = free_port()
    backends = "".join(f"backend c{n}\n  server s 127.0.0.1:{cell}\n" for n, cell in enumerate(cells, 1))
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, backends=backends))
    haproxy = Peer("haproxy", ["haproxy", "-db", "-f", folder / "haproxy.cfg"], port, folder)

    port = free_port()
    (folder / "proxy.yaml").write_text(CELLGATE.format(port=port, admin=free_port()))
    (folder / "table.yaml").write_text(table(cells))
    command = [binary, "--config", folder / "proxy.yaml"]
    cellgate = Peer("cellgate", command, port, folder)
    return origin, [cellgate, nginx, haproxy]


def table(cells):
    share = 65536 // CELLS
    text = "format: 1\nhash: { seed: 0, slots: 65536 }\ncells:\n"
    for n, port in enumerate(cells, 1):
        text += f'  c{n}: {{ endpoints: [{{ address: "127.0.0.1:{port}" }}] }}\n'
    text += "slots:\n"
    for n in range(CELLS):
        text += f'  c{n + 1}: ["{n * share}-{(n + 1) * share - 1}"]\n'
    return text


def check_answers(peer):
    """Every tenant is answered, always by the same cell, and the tenants spread over all cells."""
    seen = set()
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=5)
        cells = {}
        for number in range(TENANTS):
            tenant = f"tenant-{number}"
            connection.request("GET", "/api/v1/items?x=1", headers={"x-tenant-id": tenant})
            answer = connection.getresponse()
            body = answer.read().decode()
            if answer.status != 200 or body != BODY + "\n":
                sys.exit(f"{peer.name} answers {answer.status} {body!r} for {tenant}")
            cells[tenant] = answer.getheader("x-cell")
        seen.add(tuple(sorted(cells.items())))
        if len(set(cells.values())) != CELLS:
            sys.exit(f"{peer.name} uses only the cells {sorted(set(cells.values()))}")
    if len(seen) != 1:
        sys.exit(f"{peer.name} takes a tenant to different cells")


def measure(peer, seconds, script):
    before = peer.cpu_seconds()
    command = ["taskset", "-c", "0", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    command += ["-s", script, f"http://127.0.0.1:{peer.port}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = peer.cpu_seconds() - before
    if "Socket errors" in output or "Non-2xx" in output:
        sys.exit(f"{peer.name} failed requests:\n{output}")
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    per_second = float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1))
    p99 = milliseconds(re.search(r"99%\s+([\d.]+)(us|ms|s)", output))
    return spent / requests * 1e6, per_second, p99


def milliseconds(match):
    return float(match.group(1)) * {"us": 0.001, "ms": 1, "s": 1000}[match.group(2)]


def version(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()[0].strip()


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores, {model.group(1) if model else platform.machine()}, Linux {platform.release()}"


def report(peers, results):
    print(f"{'proxy':<10}{'CPU/request':>24}{'requests/s':>20}{'p99':>18}{'CPU, ratio':>14}")
    baseline = {name: statistics.median(cpu for cpu, _, _ in rows) for name, rows in results.items()}
    for peer in peers:
        cpu, rate, p99 = zip(*results[peer.name])
        ratio = baseline[peer.name] / baseline["nginx"]
        print(
            f"{peer.name:<10}"
            f"{statistics.median(cpu):>8.1f} us ({min(cpu):.1f}-{max(cpu):.1f})".ljust(34)
            + f"{statistics.median(rate):>10.0f} ({min(rate):.0f}-{max(rate):.0f})".ljust(24)
            + f"{statistics.median(p99):>8.2f} ms"
            + f"{ratio:>12.2f}x nginx"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parent
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--binary", type=pathlib.Path, default=root.parent / "target/release/cellgate-proxy")
    options = parser.parse_args()
    missing = [tool for tool in ["nginx", "haproxy", "wrk", "taskset"] if not shutil.which(tool)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; see loadtest/setup-tools.sh")
    if not options.binary.exists():
        sys.exit(f"{options.binary} is not there; build it with `make release`")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cellgate-compare-"))
    origin, peers = make_peers(folder, options.binary.resolve())
    results = {peer.name: [] for peer in peers}
    print(f"{machine()}; {version(['nginx', '-v'])}; {version(['haproxy', '-v']).split(' 20')[0]}")
    try:
        origin.start(core=0)
        for peer in peers:
            peer.start(core=1)
            check_answers(peer)
        print(f"every answer right for {TENANTS} tenants through each proxy; {options.rounds} rounds of {options.seconds} s")
        for _ in range(options.rounds):
            for peer in peers:
                results[peer.name].append(measure(peer, options.seconds, root / "wrk/tenants-fast.lua"))
    finally:
        for peer in [*peers, origin]:
            peer.stop()
    report(peers, results)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
