import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from compare import configs, origin, tcp_configs, tls, workloads
from compare.peers import KINDS
from compare.process import free_port


def site(folder="/somewhere", **changes):
    values = {
        "folder": Path(folder),
        "port": 18080,
        "admin_port": 18081,
        "cells": (19001, 19002, 19003, 19004),
        "access_log": False,
        "descriptors": 4096,
    }
    return configs.Site(**{**values, **changes})


def has_stream_module():
    return any(Path(path).exists() for path in tcp_configs.NGINX_MODULES)


class Configs(unittest.TestCase):
    def test_every_proxy_hears_of_its_port_and_of_all_cells(self):
        for name, kind in KINDS.items():
            text = "".join(kind.render(site()).values()) + " ".join(kind.arguments(site()))
            for port in (18080, *site().cells):
                self.assertRegex(text, rf"\b{port}\b", name)

    def test_logs_are_off_unless_wanted(self):
        for name, kind in KINDS.items():
            if kind.access_log == "none":
                continue
            off, on = (kind.render(site(access_log=wanted)) for wanted in (False, True))
            self.assertNotEqual(off, on, name)
            self.assertIn("log", "".join(on.values()), name)
            if kind.access_log.endswith(".access"):
                self.assertNotIn(".access", "".join(off.values()), name)
                self.assertIn(kind.access_log, "".join(on.values()), name)

    def test_the_table_gives_away_every_slot_once(self):
        for cells in ((1,), (1, 2, 3), (1, 2, 3, 4)):
            ranges = [tuple(map(int, found)) for found in re.findall(r'\["(\d+)-(\d+)"\]', configs.table(cells))]
            self.assertEqual(len(ranges), len(cells))
            self.assertEqual((ranges[0][0], ranges[-1][1]), (0, configs.SLOTS - 1))
            for (_, last), (first, _) in zip(ranges, ranges[1:], strict=False):
                self.assertEqual(first, last + 1)

    def test_servers_accept_their_configuration(self):
        with tempfile.TemporaryDirectory() as folder:
            port, status = free_port(), free_port()
            tls.write_certificate(Path(folder))
            certificate = Path(folder, tls.CERTIFICATE)
            for log, protocol in ((False, "http"), (True, "http"), (False, "https"), (False, "tcp")):
                here = site(folder, port=port, access_log=log, protocol=protocol, certificate=certificate)
                for kind in (KINDS["nginx"], KINDS["nginx-default-buffers"], KINDS["haproxy"]):
                    if protocol != "tcp" or kind.name == "haproxy" or has_stream_module():
                        self.accepted(kind, here)
            cells = [free_port() for _ in range(4)]
            text = origin.render(folder, cells, status, 4096)
            Path(folder, "nginx.conf").write_text(text)
            self.run_check("nginx", ["-t", "-p", folder, "-c", f"{folder}/nginx.conf"])

    def accepted(self, kind, here):
        for name, text in kind.render(here).items():
            (here.folder / name).write_text(text)
        if kind.name == "haproxy":
            self.run_check("haproxy", ["-c", "-f", str(here.folder / "haproxy.cfg")])
        else:
            self.run_check("nginx", ["-t", *kind.arguments(here)])

    def run_check(self, program, arguments):
        program = shutil.which(program, path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if program is None:
            return
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Workloads(unittest.TestCase):
    def test_heads_are_as_they_are_called(self):
        fields = re.findall(r"^[\w-]+: ", workloads.BROWSER, re.M)
        self.assertEqual(len(fields), 11)
        self.assertEqual(len(origin.PAGE_FIELDS) + len(("Server", "Date", "Content-Type", "Content-Length")), 8)
        self.assertEqual(len(workloads.SMALL_BODY), 100)

    def test_every_workload_can_be_run(self):
        names = [workload.name for workload in workloads.WORKLOADS]
        self.assertEqual(len(names), len(set(names)))
        for workload in workloads.WORKLOADS:
            self.assertLessEqual(set(workload.peers), set(KINDS), workload.name)
            self.assertLessEqual(set(workloads.CORE), set(workload.peers), workload.name)
            self.assertEqual(workload.request.count(workloads.TENANT_MARK), 1)
            self.assertTrue(workload.request.endswith("\r\n\r\n"))
