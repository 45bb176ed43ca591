"""The figures of a run: what is stored, and what is worked out from it."""

import json
from dataclasses import dataclass

from . import stats
from .peers import KINDS
from .workloads import BASELINES, OURS, WORKLOADS

FORMAT = 1
# What is compared in each kind of workload.
FIGURES = {
    "cpu": ("cpu_us", "µs of CPU per request"),
    "latency": ("p99_ms", "ms, 99th percentile"),
    "memory": ("used_bytes", "bytes per connection"),
    "instructions": ("instructions", "instructions per request"),
}
WORKLOAD_OF = {workload.name: workload for workload in WORKLOADS}


@dataclass
class Results:
    """All of a run, as results.json has it. `rounds` has for each workload a list of dicts by peer."""

    date: str
    machine: dict
    versions: dict
    commit: str
    command: str
    rounds_wanted: int
    seconds: int
    notes: list
    rounds: dict

    def to_json(self):
        about = {key: value for key, value in vars(self).items() if key != "rounds"}
        # One line per round and workload: thousands of lines with one number each help nobody.
        lines = []
        for name, rounds in self.rounds.items():
            rows = ",\n".join("    " + json.dumps(figures) for figures in rounds)
            lines.append(f"  {json.dumps(name)}: [\n{rows}\n  ]")
        head = json.dumps({"format": FORMAT, **about}, indent=1, ensure_ascii=False)
        return head.removesuffix("\n}") + ',\n "rounds": {\n' + ",\n".join(lines) + "\n }\n}\n"

    @classmethod
    def from_json(cls, text):
        values = json.loads(text)
        if values.pop("format") != FORMAT:
            raise ValueError("results of another format")
        return cls(**values)

    def peers(self, name):
        return list(self.rounds[name][0])

    def values(self, name, peer, figure):
        return [figures[peer][figure] for figures in self.rounds[name]]

    def spread(self, name, peer, figure):
        return stats.spread(self.values(name, peer, figure))

    def round_ratios(self, name, peer, base):
        """A peer's figures over those of another, or over `better`: the smaller of the baselines in each round. Nothing
        if somebody did not take part."""
        figure = FIGURES[WORKLOAD_OF[name].kind][0]
        bases = BASELINES if base == "better" else (base,)
        there = self.peers(name)
        if peer not in there or any(one not in there for one in bases):
            return None
        floor = stats.better_of([self.values(name, one, figure) for one in bases])
        return stats.ratios(self.values(name, peer, figure), floor)

    def ratio(self, name, peer, base):
        found = self.round_ratios(name, peer, base)
        return stats.spread(found) if found else None


def title(peer):
    return KINDS[peer].title


def ours_over(results, name, peer):
    """What cellgate costs against a peer."""
    return results.ratio(name, OURS, peer)
