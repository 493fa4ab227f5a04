"""Samples of alternating runs, and what may be said of them: ratios taken inside a round, their median and range."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from load import settle

# What one run of each variant gave, by the name of the variant, then of the metric.
Round = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Finding:
    """What was found about one thing in comparison to another; or a count of its own, without `to`."""

    comparison: str
    metric: str
    case: str
    of: str
    to: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


def alternate(rounds: int, variants: dict[str, Callable[[], dict[str, float]]]) -> list[Round]:
    """Runs every variant once in each round, every other round backwards."""
    results = []
    for number in range(rounds):
        names = list(variants)[:: -1 if number % 2 else 1]
        result = {}
        for name in names:
            result[name] = variants[name]()
            settle()
        results.append(result)
    return results


def compare(comparison: str, case: str, rounds: list[Round], metrics: dict[str, str], pairs: list[tuple[str, str]]) -> list[Finding]:
    """Ratios of the first of each pair to the second; `metrics` names what people read, then the samples' key."""
    return [
        Finding(comparison, metric, case, of, to, tuple(found[of][key] / found[to][key] for found in rounds))
        for metric, key in metrics.items()
        for of, to in pairs
        if of in rounds[0] and to in rounds[0]
    ]
