"""What has to hold of the release build; the medians of seven rounds or more count.

The bounds stand a margin below what was reached, since two processes of the same program differ by up to 13 %.
"""

from dataclasses import dataclass

from ratios import Finding

REFERENCE, WELL, NGINX, EVENKEEL = "reference", "reference built well", "nginx", "evenkeel"

RATE, CPU, P50, P99, WRITES, RENDER, SCRAPE, OUTDATED_P99, RAISE, P99_ALONE, INSTRUCTIONS = (
    "requests per second",
    "CPU per request",
    "median time of a request, one at a time",
    "99th percentile of the time of a lookup",
    "write system calls per request",
    "CPU per render during a release",
    "CPU per scrape",
    "99th percentile of the time of outdated lookups",
    "ms that a raised target adds to the longest lookup",
    "99th percentile, one at a time",
    "instructions per lookup",
)

# Held projects, with which a release of many is compared.
FEW = "2 k"

BUSY_OPERATORS, CALM, CALM_AGAIN = "busy operators", "calm", "calm again"


@dataclass(frozen=True)
class Bound:
    """Where the finding with these names has to lie. Beside a control, the same of another thing to `to`, its median may be at most
    the highest value of the control: what two processes of the same program differ by is noise."""

    comparison: str
    metric: str
    case: str
    of: str
    to: str
    at_least: float | None = None
    at_most: float | None = None
    control: str | None = None

    def __str__(self) -> str:
        if self.control is not None:
            return f"≤ {self.control}"
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"

    def holds(self, finding: Finding, findings: list[Finding]) -> bool:
        if self.control is not None:
            names = (self.comparison, self.metric, self.case, self.control, self.to)
            (control,) = (it for it in findings if (it.comparison, it.metric, it.case, it.of, it.to) == names)
            return finding.median <= control.high
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
    Bound("scale", RENDER, "10 k", "10 k", FEW, at_most=1.3),
    Bound("scale", RENDER, "50 k", "50 k", FEW, at_most=1.3),
    Bound("scale", SCRAPE, "10 k", "10 k", FEW, at_most=1.5),
    Bound("scale", SCRAPE, "50 k", "50 k", FEW, at_most=1.5),
    Bound("scale", RAISE, "50 k", EVENKEEL, "", at_most=1),
    Bound("operators", P50, "1 KiB", BUSY_OPERATORS, CALM, control=CALM_AGAIN),
    Bound("operators", P99_ALONE, "1 KiB", BUSY_OPERATORS, CALM, control=CALM_AGAIN),
    Bound("operators", INSTRUCTIONS, "1 KiB", BUSY_OPERATORS, CALM, at_most=1.01),
    Bound("batch", CPU, "1 KiB", "batch of 100", "single lookup", at_most=25),
]


def bound_of(finding: Finding) -> Bound | None:
    names = (finding.comparison, finding.metric, finding.case, finding.of, finding.to)
    found = (bound for bound in BOUNDS if (bound.comparison, bound.metric, bound.case, bound.of, bound.to) == names)
    return next(found, None)
