"""Medians, spreads and ratios. A ratio is made within a round, because the speed of a machine changes meanwhile."""

import statistics
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Spread:
    """How a figure is distributed over the rounds."""

    median: float
    low: float  # the first quartile
    high: float  # the third quartile
    least: float
    most: float
    count: int

    def as_dict(self):
        return asdict(self)


def spread(values):
    """Of at least one value. Quartiles are those within the sample, so that one or two values have some too."""
    values = sorted(values)
    if not values:
        raise ValueError("no value to make a median of")
    if len(values) == 1:
        low = high = values[0]
    else:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(statistics.median(values), low, high, values[0], values[-1], len(values))


def better_of(baselines):
    """Of lists of figures by round, the smaller figure of each round."""
    return [min(figures) for figures in zip(*baselines, strict=True)]


def ratios(values, baseline):
    """Figure by figure of the same round."""
    return [value / base for value, base in zip(values, baseline, strict=True)]


def order(names, round_number):
    """Who comes when in a round: everybody once, and over the rounds in every place, so that none has the place that
    follows the costliest peer's every time."""
    first = round_number % len(names)
    return [*names[first:], *names[:first]]
