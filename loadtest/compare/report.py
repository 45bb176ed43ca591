"""Tables: results.md, the lines that are printed meanwhile, and the piece for the README."""

import re
import textwrap

from .results import FIGURES, WORKLOAD_OF, ours_over, title
from .workloads import BASELINES, OURS

WIDTH = 120
BEGIN, END = "<!-- compare: begin -->", "<!-- compare: end -->"


def number(value):
    """With about three digits that mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def with_spread(spread, form=number):
    """The median, and the quartiles if there is more than one round."""
    if spread is None:
        return "–"
    if spread.count == 1:
        return form(spread.median)
    return f"{form(spread.median)} ({form(spread.low)}–{form(spread.high)})"


def ratio(spread):
    return with_spread(spread, lambda value: f"{value:.2f}")


def median_ratio(spread):
    return f"{spread.median:.2f}" if spread else "–"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def peer_table(results, name):
    """One workload, a row per proxy."""
    workload = WORKLOAD_OF[name]
    make = {"cpu": cpu_table, "latency": latency_table, "memory": memory_table, "instructions": instructions_table}
    return make[workload.kind](results, name)


def cpu_table(results, name):
    head = [
        "proxy",
        "CPU µs per request",
        "÷ nginx",
        "÷ HAProxy",
        "÷ the better",
        "cellgate ÷ it",
        "requests/s",
        "core busy",
    ]
    rows = []
    for peer in results.peers(name):
        row = [title(peer), with_spread(results.spread(name, peer, "cpu_us"))]
        row += [ratio(results.ratio(name, peer, base)) for base in (*BASELINES, "better")]
        row += [median_ratio(ours_over(results, name, peer))]
        row += [number(results.spread(name, peer, "requests_per_s").median)]
        row += [f"{100 * results.spread(name, peer, 'core_busy').median:.0f} %"]
        rows.append(row)
    return table(head, rows)


def latency_table(results, name):
    head = ["proxy", "99th percentile, ms", "median, ms", "÷ nginx", "÷ HAProxy", "÷ the better", "requests/s"]
    rows = []
    for peer in results.peers(name):
        row = [title(peer), *(with_spread(results.spread(name, peer, figure)) for figure in ("p99_ms", "p50_ms"))]
        row += [ratio(results.ratio(name, peer, base)) for base in (*BASELINES, "better")]
        row += [number(results.spread(name, peer, "requests_per_s").median)]
        rows.append(row)
    return table(head, rows)


def memory_table(results, name):
    head = ["proxy", "fresh, bytes", "after a request, bytes", "without connections, MiB", "connections"]
    rows = []
    for peer in results.peers(name):
        figures = results.rounds[name][0][peer]
        row = [title(peer), f"{figures['fresh_bytes']:,}", f"{figures['used_bytes']:,}"]
        row += [f"{figures['before_bytes'] / 2**20:.1f}", f"{figures['connections']:,}"]
        rows.append(row)
    return table(head, rows)


def instructions_table(results, name):
    head = ["proxy", "instructions per request", "÷ nginx", "÷ HAProxy", "requests counted"]
    rows = []
    for peer in results.peers(name):
        figures = results.rounds[name][0][peer]
        row = [title(peer), f"{figures['instructions']:,}"]
        row += [median_ratio(results.ratio(name, peer, base)) for base in BASELINES]
        rows.append([*row, f"{figures['requests']:,}"])
    return table(head, rows)


def summary(results):
    """One row per workload: ours and the two that it is measured against."""
    head = ["workload", "cellgate", "nginx", "HAProxy", "÷ nginx", "÷ HAProxy", "÷ the better"]
    rows = []
    for name, rounds in results.rounds.items():
        if OURS not in rounds[0]:
            continue
        workload = WORKLOAD_OF[name]
        figure, unit = FIGURES[workload.kind]
        row = [f"{workload.title}, {unit}" if workload.kind == "cpu" else workload.title]
        for peer in (OURS, *BASELINES):
            there = peer in rounds[0]
            row.append(number(results.spread(name, peer, figure).median) if there else "–")
        row += [ratio(results.ratio(name, OURS, base)) for base in (*BASELINES, "better")]
        rows.append(row)
    return table(head, rows)


def about(results):
    """Where the figures come from, in one paragraph."""
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    text = (
        f"{results.date}, {machine['cores']} cores of {machine['cpu']}, {machine['kernel']}; {versions};"
        f" commit {results.commit}. `{results.command}`: medians of {results.rounds_wanted} rounds of"
        f" {results.seconds} s, quartiles in brackets."
    )
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def results_md(results):
    text = "# Comparison with other proxies\n\n" + about(results)
    text += "\n[docs/performance.md](../../../docs/performance.md) says what each figure means.\n"
    text += "".join(f"\n**{note}.**\n" for note in results.notes)
    text += "\n## In short\n\n" + summary(results)
    for name in results.rounds:
        text += f"\n## {WORKLOAD_OF[name].title}\n\n" + peer_table(results, name)
    return text + "\nThe raw figures of every round are in results.json.\n"


def readme_part(results, folder):
    """What stands between the marks in README.md."""
    return f"{about(results)}\n{summary(results)}\nAll figures, with plots: [{folder}]({folder}/results.md).\n"


def replace_part(text, part):
    """README.md with another part between its marks."""
    found = re.search(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", text, re.S)
    if not found:
        raise ValueError(f"there is nothing between {BEGIN} and {END}")
    return text[: found.start()] + f"{BEGIN}\n{part}{END}" + text[found.end() :]
