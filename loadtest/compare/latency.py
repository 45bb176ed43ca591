"""The 99th percentile at a fixed rate that all proxies can carry."""

from . import load, stats
from .failure import Failure
from .peers import OHA

# Below that the generator or the proxy did not keep up, and the figure says something else.
RATE_SHARE_MIN = 0.97
PROBE_SECONDS = 2


def measure(bench, workload, names):
    """A list of rounds, each with a dict by peer."""
    if not OHA.exists():
        raise Failure("oha is missing; `loadtest/setup-tools.sh compare` installs it")
    rounds = []
    with bench.running(workload, names) as peers:
        by_name = {peer.name: peer for peer in peers}
        rate = int((bench.saturation or saturation(bench, workload, by_name)) / 2)
        print(f"open loop at {rate:,} requests a second", flush=True)
        for number in range(bench.rounds):
            figures = {}
            for name in stats.order(names, number):
                seen = load.oha(OHA, workload, by_name[name].port, bench.seconds, rate)
                figures[name] = slice_figures(bench, by_name[name], seen, rate)
            rounds.append(figures)
    return rounds


def saturation(bench, workload, by_name):
    """What nginx carries, if the small workload did not run before."""
    if "nginx" not in by_name:
        raise Failure("the rate is half of what nginx carries: nginx has to take part")
    seen = load.wrk(workload, by_name["nginx"].port, PROBE_SECONDS, bench.request_file(workload))
    return seen.requests / seen.seconds


def slice_figures(bench, peer, seen, rate):
    achieved = seen.requests / seen.seconds
    if achieved < rate * RATE_SHARE_MIN:
        bench.note(f"p99: {peer.kind.title} got {rate:,} requests a second to carry and there were slices with fewer")
    return {
        "requests": seen.requests,
        "rate": rate,
        "requests_per_s": round(achieved, 1),
        "p50_ms": round(seen.p50_ms, 3),
        "p99_ms": round(seen.p99_ms, 3),
    }
