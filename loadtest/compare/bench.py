"""What all kinds of measurements share: the cells, the programs, and proxies that are started, checked and ended."""

import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from . import check, origin, peers, tls
from .failure import Failure
from .process import Process, free_port, raise_descriptor_limit

CELLS = 4
ORIGIN_CORE = "0"
# Programs may have fewer, but then not 10,000 connections.
DESCRIPTORS_MAX = 65536


@dataclass
class Bench:
    """The run as a whole."""

    folder: Path
    programs: dict
    rounds: int
    seconds: int
    cells: list[int]
    status_port: int
    descriptors: int
    # What readers of the figures have to know.
    notes: list[str] = field(default_factory=list)
    # Requests a second of nginx in the small workload, once it is known.
    saturation: float | None = None

    def note(self, text):
        print(f"NOTE: {text}", flush=True)
        if text not in self.notes:
            self.notes.append(text)

    def request_file(self, workload):
        path = self.folder / f"{workload.name}.request"
        path.write_bytes(workload.request.encode())
        return path

    def counts(self):
        return origin.counts(self.status_port)

    @contextlib.contextmanager
    def running(self, workload, names, **options):
        """Proxies for one workload, checked. They begin anew for each."""
        started = []
        try:
            for name in names:
                folder = self.folder / workload.name
                peer = peers.start(
                    peers.KINDS[name],
                    self.programs,
                    folder,
                    self.cells,
                    self.descriptors,
                    workload=workload,
                    certificate=self.folder / tls.CERTIFICATE,
                    **options,
                )
                started.append(peer)
                check.check(peer, workload)
            yield started
        except Failure as failure:
            raise Failure(f"{workload.name}: {failure}") from failure
        finally:
            for peer in started:
                peer.process.stop()


@contextlib.contextmanager
def make_bench(programs, rounds, seconds):
    with tempfile.TemporaryDirectory(prefix="cellgate-compare-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # started by root, nginx's worker is somebody else
        descriptors = min(raise_descriptor_limit(), DESCRIPTORS_MAX)
        cells, status = [free_port() for _ in range(CELLS)], free_port()
        origin.write_files(folder)
        tls.write_certificate(folder)
        (folder / "origin.conf").write_text(origin.render(folder, cells, status, descriptors))
        nginx = peers.KINDS["nginx"].program(programs)
        command = ["taskset", "-c", ORIGIN_CORE, nginx, "-p", name, "-c", str(folder / "origin.conf")]
        process = Process("origin", command, folder)
        process.start(status)
        try:
            yield Bench(folder, programs, rounds, seconds, cells, status, descriptors)
        finally:
            process.stop()
