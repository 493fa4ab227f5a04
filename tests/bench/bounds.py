"""What has to hold of the release build; the medians of seven rounds or more count.

The bounds stand a margin below what was reached, since two processes of the same program differ by up to 13 %.
"""

from dataclasses import dataclass

from ratios import Finding

REFERENCE, WELL, NGINX, EVENKEEL = "reference", "reference built well", "nginx", "evenkeel"

RATE, CPU, P50, P99, WRITES, RENDER, SCRAPE, OUTDATED_P99, RAISE = (
    "requests per second",
    "CPU per request",
    "median time of a request, one at a time",
    "99th percentile of the time of a lookup",
    "write system calls per request",
    "CPU per render during a release",
    "CPU per scrape",
    "99th percentile of the time of outdated lookups",
    "ms that a raised target adds to the longest lookup",
)


@dataclass(frozen=True)
class Bound:
    """Where the finding with these names has to lie."""

    comparison: str
    metric: str
    case: str
    of: str
    to: str
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"

    def holds(self, finding: Finding) -> bool:
        if self.at_least is not None:
            return finding.median >= self.at_least
        return finding.median <= self.at_most


BOUNDS = [
    Bound("wire", RATE, "1 KiB", EVENKEEL, REFERENCE, at_least=2.5),
    Bound("wire", RATE, "16 KiB", EVENKEEL, REFERENCE, at_least=2.2),
    Bound("wire", RATE, "256 KiB", EVENKEEL, REFERENCE, at_least=2.6),
    Bound("wire", RATE, "1 KiB", EVENKEEL, WELL, at_least=1.3),
    Bound("wire", RATE, "16 KiB", EVENKEEL, WELL, at_least=1.25),
    Bound("wire", RATE, "256 KiB", EVENKEEL, WELL, at_least=2.4),
    Bound("wire", RATE, "1 KiB", EVENKEEL, NGINX, at_least=1.6),
    Bound("wire", RATE, "16 KiB", EVENKEEL, NGINX, at_least=1.5),
    Bound("wire", WRITES, "1 KiB", EVENKEEL, "", at_most=0.1),
    Bound("wire", WRITES, "16 KiB", EVENKEEL, "", at_most=0.5),
    Bound("wire", WRITES, "256 KiB", EVENKEEL, "", at_most=6),
    # No worse: within what two processes of one program may differ by.
    Bound("wire", P50, "1 KiB", EVENKEEL, WELL, at_most=1.15),
    Bound("wire", P50, "16 KiB", EVENKEEL, WELL, at_most=1.15),
    Bound("wire", P50, "256 KiB", EVENKEEL, WELL, at_most=1.15),
    Bound("storm", P99, "1 KiB", "storm", "calm", at_most=2),
    Bound("storm", CPU, "1 KiB", "storm", "calm", at_most=1.15),
    Bound("scale", RENDER, "10 k", "10 k", "1 k", at_most=1.3),
    Bound("scale", RENDER, "50 k", "50 k", "1 k", at_most=1.3),
    Bound("scale", SCRAPE, "10 k", "10 k", "1 k", at_most=1.5),
    Bound("scale", SCRAPE, "50 k", "50 k", "1 k", at_most=1.5),
    Bound("scale", RAISE, "50 k", EVENKEEL, "", at_most=1),
    Bound("batch", CPU, "1 KiB", "batch of 100", "single lookup", at_most=25),
]


def bound_of(finding: Finding) -> Bound | None:
    names = (finding.comparison, finding.metric, finding.case, finding.of, finding.to)
    found = (bound for bound in BOUNDS if (bound.comparison, bound.metric, bound.case, bound.of, bound.to) == names)
    return next(found, None)
