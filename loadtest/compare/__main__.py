"""The run from beginning to end: read the options, measure one workload after the other, write what was seen."""

import argparse
import datetime
import os
import sys
from pathlib import Path

from . import bench, cpu, instructions, latency, machine, memory, plots, report
from .failure import Failure
from .peers import KINDS, ROOT
from .results import Results
from .workloads import ALL_PEERS, OURS, WORKLOADS

MEASURE = {"cpu": cpu, "latency": latency, "memory": memory, "instructions": instructions}


def main():
    options = read_options()
    try:
        if options.render:
            write(Results.from_json((options.render / "results.json").read_text()), options.render, options)
        else:
            run(options)
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")


def read_options():
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="compare", description="Compares cellgate with other proxies.")
    parser.add_argument("--rounds", type=positive, default=20, help="of every workload (20)")
    parser.add_argument("--seconds", type=positive, default=1, help="how long each proxy's turn lasts (1)")
    parser.add_argument("--only", type=some_of(names), default=names, metavar="WORKLOAD,..", help=", ".join(names))
    parser.add_argument("--peers", type=some_of(ALL_PEERS), metavar="PEER,..", help=", ".join(ALL_PEERS))
    parser.add_argument("--binary", type=Path, help="cellgate-proxy (target/release/cellgate-proxy)")
    parser.add_argument("--bare", type=Path, help="bare pingora-proxy (target/release/examples/bare-pingora)")
    parser.add_argument("--out", type=Path, help="folder for the results (loadtest/results/DATE-MACHINE)")
    parser.add_argument("--readme", action="store_true", help="put the summary into README.md")
    parser.add_argument(
        "--render", type=Path, metavar="DIR", help="measure nothing: tables and plots of DIR/results.json"
    )
    return parser.parse_args()


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def some_of(known):
    def parse(text):
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}; known are {', '.join(known)}")
        return [name for name in known if name in chosen]

    return parse


def run(options):
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    programs = {
        OURS: (options.binary or target / "cellgate-proxy").resolve(),
        "bare-pingora": (options.bare or target / "examples" / "bare-pingora").resolve(),
    }
    os.sched_setaffinity(0, {0})  # with the load generator; the proxies have core 1 to themselves
    with bench.make_bench(programs, options.rounds, options.seconds) as the_bench:
        names = those_there(the_bench, options.peers or ALL_PEERS)
        described = machine.describe()
        results = Results(
            date=datetime.date.today().isoformat(),
            machine=described,
            versions=machine.versions(names, programs),
            commit=machine.commit(),
            command=command_line(options),
            rounds_wanted=options.rounds,
            seconds=options.seconds,
            notes=the_bench.notes,
            rounds={},
        )
        print(report.about(results), flush=True)
        for workload in WORKLOADS:
            if workload.name in options.only:
                measure(the_bench, workload, names, results)
    folder = options.out or ROOT / "loadtest" / "results" / f"{results.date}-{machine.short_name(described)}"
    write(results, folder, options)


def those_there(the_bench, wanted):
    """Who takes part. A proxy that cannot be had is left out, with a note in the results."""
    if missing := [name for name in (*wanted, "nginx") if KINDS[name].program(the_bench.programs) is None]:
        for name in missing:
            the_bench.note(f"LEFT OUT: {KINDS[name].title} could not be had")
    if OURS in missing or "nginx" in missing:
        raise Failure("without nginx, which also plays the cells, and cellgate there is nothing to compare")
    return [name for name in wanted if name not in missing]


def measure(the_bench, workload, names, results):
    chosen = [name for name in workload.peers if name in names]
    if not chosen:
        return
    print(f"\n## {workload.title}\n", flush=True)
    try:
        results.rounds[workload.name] = MEASURE[workload.kind].measure(the_bench, workload, chosen)
    except Failure as failure:
        # A tool that is missing costs its workload; anything that goes wrong with requests ends the run.
        if "is missing" not in str(failure):
            raise
        the_bench.note(f"LEFT OUT: {workload.title}: {failure}")
        return
    print(report.peer_table(results, workload.name), flush=True)


def command_line(options):
    """As somebody else would type it: without this machine's folders."""
    words = [f"--rounds {options.rounds}", f"--seconds {options.seconds}"]
    if len(options.only) < len(WORKLOADS):
        words.append(f"--only {','.join(options.only)}")
    if options.peers:
        words.append(f"--peers {','.join(options.peers)}")
    return f'make compare ARGS="{" ".join(words)}"'


def write(results, folder, options):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(results.to_json())
    (folder / "results.md").write_text(report.results_md(results))
    for line in plots.draw(results, folder):
        print(line)
    shown = folder.resolve()
    shown = shown.relative_to(ROOT) if shown.is_relative_to(ROOT) else folder
    print(f"results are in {shown}")
    if options.readme:
        readme = ROOT / "README.md"
        readme.write_text(report.replace_part(readme.read_text(), report.readme_part(results, shown)))
        print("README.md has the summary")


if __name__ == "__main__":
    main()
