"""The proxies: where their programs are, how they are started, which versions they are."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import configs
from .failure import Failure
from .process import Process, free_port
from .workloads import OURS

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
VENV = TOOLS / "compare"
OHA = TOOLS / "bin" / "oha"
PEER_CORE = "1"


@dataclass(frozen=True)
class Kind:
    """A proxy as a program."""

    name: str
    title: str
    program: Callable[[dict], str | None]
    render: Callable[[configs.Site], dict]
    arguments: Callable[[configs.Site], list]
    version: Callable[[str], str]
    # Relative to its folder.
    access_log: str
    environment: tuple[tuple[str, str], ...] = ()
    # The same program with another configuration.
    variant_of: str | None = None


def on_path(name):
    """Servers stand in folders that are not on everybody's path."""
    return lambda _: shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def in_tools(path):
    return lambda _: str(VENV / path) if (VENV / path).exists() else None


def envoy_program(_):
    found = sorted(VENV.glob("lib/python*/site-packages/envoy/_bin/envoy"))
    return str(found[0]) if found else None


def built(name):
    """What cargo built, unless the command line names another file."""
    return lambda programs: str(programs[name]) if programs[name].exists() else None


def first_number(*arguments):
    """The first thing in a program's output that looks like a version, wherever its name stands in it."""

    def version(program):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+(\.\d+)*", (done.stdout + done.stderr).replace(str(program), ""))
        return found.group() if found else "unknown"

    return version


def pingora_version(_program):
    lock = (ROOT / "Cargo.lock").read_text()
    return re.search(r'name = "pingora-proxy"\nversion = "([^"]+)"', lock).group(1)


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "nginx",
            "nginx",
            on_path("nginx"),
            configs.nginx,
            lambda site: ["-p", str(site.folder), "-c", str(site.folder / "nginx.conf")],
            first_number("-v"),
            "nginx.access",
        ),
        Kind(
            "nginx-default-buffers",
            "nginx, default buffers",
            on_path("nginx"),
            configs.nginx_default_buffers,
            lambda site: ["-p", str(site.folder), "-c", str(site.folder / "nginx.conf")],
            first_number("-v"),
            "nginx.access",
            variant_of="nginx",
        ),
        Kind(
            "haproxy",
            "HAProxy",
            on_path("haproxy"),
            configs.haproxy,
            lambda site: ["-db", "-f", str(site.folder / "haproxy.cfg")],
            first_number("-v"),
            "haproxy.out",
        ),
        Kind(
            OURS,
            "cellgate",
            built(OURS),
            configs.cellgate,
            lambda site: ["--config", str(site.folder / "proxy.yaml")],
            first_number("--version"),
            "cellgate.access",
        ),
        Kind(
            "cellgate-direct-off",
            "cellgate, direct: off",
            built(OURS),
            configs.cellgate_direct_off,
            lambda site: ["--config", str(site.folder / "proxy.yaml")],
            first_number("--version"),
            "cellgate.access",
            variant_of=OURS,
        ),
        Kind(
            "bare-pingora",
            "bare pingora-proxy",
            built("bare-pingora"),
            lambda _: {},
            lambda site: [f"127.0.0.1:{site.port}", *(f"127.0.0.1:{cell}" for cell in site.cells)],
            pingora_version,
            "none",
        ),
        Kind(
            "envoy",
            "Envoy",
            envoy_program,
            configs.envoy,
            lambda site: [
                *("-c", str(site.folder / "envoy.yaml"), "--concurrency", "1"),
                *("--disable-hot-restart", "--log-level", "error"),
            ],
            first_number("--version"),
            "envoy.access",
        ),
        Kind(
            "caddy",
            "Caddy",
            in_tools("bin/caddy"),
            configs.caddy,
            lambda site: ["run", "--config", str(site.folder / "Caddyfile"), "--adapter", "caddyfile"],
            first_number("version"),
            "caddy.access",
            (("GOMAXPROCS", "1"),),
        ),
    )
}


@dataclass
class Peer:
    """A proxy in one of its lives."""

    kind: Kind
    site: configs.Site
    process: Process

    @property
    def name(self):
        return self.kind.name

    @property
    def port(self):
        return self.site.port

    @property
    def access_log(self):
        return self.site.folder / self.kind.access_log


def start(kind, programs, folder, cells, descriptors, *, workload, certificate, wrapper=()):
    """Starts a proxy on its core, in a folder of its own. `wrapper` is a program that runs it, such as valgrind."""
    site = configs.Site(
        folder=folder / kind.name,
        port=free_port(),
        admin_port=free_port(),
        cells=tuple(cells),
        access_log=workload.access_log,
        descriptors=descriptors,
        protocol=workload.protocol,
        certificate=certificate,
        single_process=bool(wrapper),
    )
    site.folder.mkdir(parents=True)
    for name, text in kind.render(site).items():
        (site.folder / name).write_text(text)
    program = kind.program(programs)
    if program is None:
        raise Failure(f"{kind.title} is not there")
    command = ["taskset", "-c", PEER_CORE, *wrapper, program, *kind.arguments(site)]
    home = str(site.folder)
    environment = {**os.environ, **dict(kind.environment), "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
    process = Process(kind.name, command, site.folder, environment)
    process.start(site.port)
    return Peer(kind, site, process)
