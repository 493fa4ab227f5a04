"""Findings for people, for the README here and for programs. Ratios, never times."""

from bounds import (
    BUSY_OPERATORS,
    CALM,
    CALM_AGAIN,
    CPU,
    EVENKEEL,
    FEW,
    INSTRUCTIONS,
    OUTDATED_P99,
    P50,
    P99,
    P99_ALONE,
    RAISE,
    RATE,
    REFERENCE,
    RENDER,
    SCRAPE,
    WELL,
    WRITES,
    bound_of,
)
from comparisons import COMPARISONS, SCALES
from ratios import Finding
from servers import PROJECTS

LESS_IS_BETTER = (CPU, P50, P99, WRITES, RENDER, SCRAPE, OUTDATED_P99, RAISE, P99_ALONE, INSTRUCTIONS)


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _value(finding: Finding) -> str:
    if len(finding.values) == 1:
        return _number(finding.median)
    return f"{_number(finding.median)} ({_number(finding.low)}–{_number(finding.high)})"


def _versus(finding: Finding) -> str:
    return f"{finding.of} / {finding.to}" if finding.to else finding.of


def text(findings: list[Finding]) -> str:
    """One table for each metric of each comparison: the median and the range of the ratios, and the bound if there is one."""
    lines = []
    for comparison, compared in COMPARISONS.items():
        ours = [finding for finding in findings if finding.comparison == comparison]
        if ours:
            lines += ["", f"== {comparison}: {compared.__doc__}"]
        for metric in dict.fromkeys(finding.metric for finding in ours):
            rows = [finding for finding in ours if finding.metric == metric]
            cases = list(dict.fromkeys(finding.case for finding in rows))
            hint = "less is better" if metric in LESS_IS_BETTER else "more is better"
            lines += ["", f"{metric} ({hint})".ljust(60) + "".join(case.ljust(30) for case in cases).rstrip()]
            for versus in dict.fromkeys(_versus(finding) for finding in rows):
                cells = [_cell(finding, findings) for finding in rows if _versus(finding) == versus]
                lines.append(f"  {versus}".ljust(60) + "".join(cell.ljust(30) for cell in cells).rstrip())
    return "\n".join(lines).lstrip("\n")


def _cell(finding: Finding, findings: list[Finding]) -> str:
    bound = bound_of(finding)
    if bound is None:
        return _value(finding)
    return f"{_value(finding)} {bound}" + ("" if bound.holds(finding, findings) else " MISSED")


def missed(findings: list[Finding]) -> list[str]:
    """The bounds that do not hold."""
    judged = [(finding, bound_of(finding)) for finding in findings]
    return [
        f"{finding.comparison}: {finding.metric}, {finding.case}, {_versus(finding)}: {_value(finding)}, has to be {bound}"
        for finding, bound in judged
        if bound and not bound.holds(finding, findings)
    ]


def markdown(findings: list[Finding]) -> str:
    """The tables of README.md beside this file."""
    names = {(finding.comparison, finding.metric, finding.of, finding.to, finding.case): finding for finding in findings}

    def row(title: str, comparison: str, metric: str, of: str, to: str, cases=tuple(PROJECTS)) -> str | None:
        cells = [names.get((comparison, metric, of, to, case)) for case in cases]
        if not any(cells):
            return None
        return f"| {title} | " + " | ".join(_value(cell) if cell else "" for cell in cells) + " |"

    again, nginx = f"{REFERENCE} again", "nginx"
    sizes = [
        row("requests per second, against a tonic server", "wire", RATE, EVENKEEL, REFERENCE),
        row("… against the same built well", "wire", RATE, EVENKEEL, WELL),
        row("… against nginx, HTTP/1.1, cached", "wire", RATE, EVENKEEL, nginx),
        row("… control: the tonic server against itself", "wire", RATE, again, REFERENCE),
        row("… control: evenkeel against itself", "wire", RATE, f"{EVENKEEL} again", EVENKEEL),
        row("CPU per request, against a tonic server", "wire", CPU, EVENKEEL, REFERENCE),
        row("… against the same built well", "wire", CPU, EVENKEEL, WELL),
        row("median time, one at a time, against a tonic server", "wire", P50, EVENKEEL, REFERENCE),
        row("… against the same built well", "wire", P50, EVENKEEL, WELL),
        row("write system calls per request", "wire", WRITES, EVENKEEL, ""),
        row("… of the tonic server", "wire", WRITES, REFERENCE, ""),
        row("CPU per request, outdated against fresh", "outdated", CPU, "outdated", "fresh"),
        row("median time, one at a time, Unix socket against TCP", "unix", P50, "Unix socket", "TCP"),
    ]
    small = ("1 KiB",)
    others = [
        row("CPU per lookup, during a release against before", "storm", CPU, "storm", "calm", small),
        row("99th percentile, during a release against before", "storm", P99, "storm", "calm", small),
        row("CPU per request, with 100 watchers against none", "watchers", CPU, "100 watchers", "no watchers", small),
        row("median time, one at a time, with busy operators against calm", "operators", P50, BUSY_OPERATORS, CALM, small),
        row("… control: calm against calm", "operators", P50, CALM_AGAIN, CALM, small),
        row("99th percentile, one at a time, with busy operators against calm", "operators", P99_ALONE, BUSY_OPERATORS, CALM, small),
        row("… control: calm against calm", "operators", P99_ALONE, CALM_AGAIN, CALM, small),
        row("instructions per lookup, with busy operators against calm", "operators", INSTRUCTIONS, BUSY_OPERATORS, CALM, small),
        row("CPU of a batch of 100 against one lookup", "batch", CPU, "batch of 100", "single lookup", small),
    ]
    held = tuple(SCALES)
    scales = [
        row("99th percentile of outdated lookups, while renders land against before", "scale", OUTDATED_P99, "release", "calm", held),
        row("ms that a raised target adds to the longest outdated lookup", "scale", RAISE, EVENKEEL, "", held),
    ]
    for title, metric in ((f"CPU per render during a release, against {FEW}", RENDER), (f"CPU per scrape, against {FEW}", SCRAPE)):
        cells = [names.get(("scale", metric, size, FEW, size)) for size in held]
        if any(cells):
            scales.append(f"| {title} | " + " | ".join(_value(cell) if cell else "1" for cell in cells) + " |")
    tables = []
    headers = (("median (range)", *PROJECTS), ("median (range)", *small), ("median (range); projects held", *held))
    for header, rows in zip(headers, (sizes, others, scales), strict=True):
        if any(rows):
            tables.append("\n".join([f"| {' | '.join(header)} |", "|---" * len(header) + "|", *filter(None, rows)]))
    return "\n\n".join(tables)


def plain(findings: list[Finding]) -> list[dict]:
    """For programs."""
    return [
        {
            "comparison": finding.comparison,
            "metric": finding.metric,
            "case": finding.case,
            "of": finding.of,
            "to": finding.to or None,
            "median": finding.median,
            "low": finding.low,
            "high": finding.high,
            "values": list(finding.values),
            "bound": str(bound) if (bound := bound_of(finding)) else None,
            "holds": bound.holds(finding) if bound else None,
        }
        for finding in findings
    ]
