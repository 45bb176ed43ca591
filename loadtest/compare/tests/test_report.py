import json
import os
import unittest

from compare import instructions, load, process, report
from compare.failure import Failure
from compare.results import Results


def slice_of(cpu_us):
    return {"requests": 1000, "requests_per_s": 1000.0, "cpu_us": cpu_us, "core_busy": 0.5}


def results():
    rounds = [
        {"nginx": slice_of(10), "haproxy": slice_of(12), "cellgate": slice_of(9)},
        {"nginx": slice_of(22), "haproxy": slice_of(20), "cellgate": slice_of(16)},
    ]
    memory = {"connections": 10, "before_bytes": 2**20, "fresh_bytes": 500, "used_bytes": 600}
    return Results(
        date="2026-01-31",
        machine={"cpu": "Some CPU", "cores": 2, "memory_gib": 4, "kernel": "Linux 6.1"},
        versions={"nginx": "1.22.1"},
        commit="0123456",
        command="make compare",
        rounds_wanted=2,
        seconds=1,
        notes=["LEFT OUT: Envoy could not be had"],
        rounds={"small": rounds, "memory": [{"nginx": memory, "cellgate": memory}]},
    )


class Report(unittest.TestCase):
    def test_what_is_stored_is_read_back(self):
        text = results().to_json()
        self.assertEqual(Results.from_json(text), results())
        self.assertEqual(json.loads(text)["format"], 1)
        # A round is a line.
        self.assertEqual(len([line for line in text.splitlines() if "cpu_us" in line]), 2)

    def test_the_better_is_that_of_the_round(self):
        found = results().ratio("small", "cellgate", "better")
        self.assertEqual((found.least, found.most), (0.8, 0.9))
        self.assertIsNone(results().ratio("small", "cellgate", "envoy"))
        self.assertIsNone(results().ratio("memory", "cellgate", "better"), "HAProxy did not take part")

    def test_tables(self):
        text = report.results_md(results())
        self.assertIn("| cellgate | 12.5 (10.8–14.2) |", text)
        self.assertIn("LEFT OUT: Envoy", text)
        for line in text.splitlines():
            if line.startswith("|"):
                self.assertEqual(line.count("|"), line.count(" | ") + 2, line)

    def test_only_the_part_between_the_marks_is_replaced(self):
        before = f"a\n{report.BEGIN}\nold\n{report.END}\nb\n"
        after = report.replace_part(before, "new\n")
        self.assertEqual(after, f"a\n{report.BEGIN}\nnew\n{report.END}\nb\n")
        self.assertEqual(report.replace_part(after, "new\n"), after)
        with self.assertRaises(ValueError):
            report.replace_part("no marks", "new\n")


class OutputOfTools(unittest.TestCase):
    def test_wrk(self):
        line = "requests 1200 failed {} duration_us 1000500 p50_us 900 p99_us 2100\n"
        found = load.parse_wrk("Running 1s test\n" + line.format(0))
        self.assertEqual(found, load.Load(1200, 1.0005, 0.9, 2.1))
        for output in (line.format(1), "unable to connect", line.format(0).replace("1200", "0")):
            with self.assertRaises(Failure):
                load.parse_wrk(output)

    def test_openssl(self):
        output = "Collecting connection statistics for 1 seconds\n***\n\n412 connections in 0.55s; 749 connections/user sec\n"
        found = load.parse_handshakes(output + "412 connections in 2 real seconds, 0 bytes read per connection\n", 1)
        self.assertEqual(found, load.Load(412, 1, 0, 0))
        for output in ("", "0 connections in 2 real seconds, 0 bytes read per connection\n"):
            with self.assertRaises(Failure):
                load.parse_handshakes(output, 1)

    def test_oha(self):
        report = {
            "summary": {"total": 1.01},
            "latencyPercentiles": {"p50": 0.0005, "p99": 0.002},
            "statusCodeDistribution": {"200": 5000},
            "errorDistribution": {},
        }
        self.assertEqual(load.parse_oha(json.dumps(report)), load.Load(5000, 1.01, 0.5, 2))
        for change in (
            {"errorDistribution": {"connection refused": 1}},
            {"statusCodeDistribution": {"200": 4999, "502": 1}},
            {"statusCodeDistribution": {}},
        ):
            with self.assertRaises(Failure):
                load.parse_oha(json.dumps({**report, **change}))

    def test_the_kernel_and_callgrind(self):
        self.assertEqual(process.pss_bytes_of("Rss:   20 kB\nPss:            12 kB\nPss_Dirty: 4 kB\n"), 12 * 1024)
        ticks = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 100 10 50 7000 900 5 20 15 0 0\n"
        self.assertEqual(process.busy_seconds(ticks, "1") * os.sysconf("SC_CLK_TCK"), 200)
        self.assertEqual(instructions.instructions_of("events: Ir\nfn=(1)\n1 2\ntotals: 4711\n"), 4711)
        with self.assertRaises(Failure):
            instructions.instructions_of("events: Ir\n")
