"""Measures evenkeel against references, side by side: ratios, never times. Started by tests/bench/run."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import report
from comparisons import COMPARISONS, Bench
from servers import CORES, REFERENCE, ROOT, TARGET, build


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("--only", action="append", choices=COMPARISONS, help="one comparison; may be repeated")
    parser.add_argument("--rounds", type=int, help="how often everything runs (default: 7)")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all works; its numbers mean nothing")
    parser.add_argument("--no-build", action="store_true", help="take the binaries that were built before")
    instead = "a binary instead of the release build; may be repeated: all others are measured against the first"
    parser.add_argument("--evenkeel", action="append", type=Path, metavar="PATH", help=instead)
    parser.add_argument("--check", action="store_true", help="fail when a bound of bounds.py is missed")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON; raw are the numbers of each run, which are no results")
    output.add_argument("--markdown", action="store_true", help="print the tables of README.md here")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if len(CORES) < 2:
        print("tests/bench/run: needs two cores, one for the server and one for who asks it", file=sys.stderr)
        return 1
    if not options.no_build:
        say("building")
        build(profile="release", package=REFERENCE)
        build("--features", "well", profile="well", package=REFERENCE)
        if not options.evenkeel:
            # Alone it is measured with a collector, which the build that is measured otherwise does not have.
            features = ("--features", "otlp") if options.only == ["operators"] else ()
            build(*features, profile="release")
    binaries = [binary.absolute() for binary in options.evenkeel or [TARGET / "release/evenkeel"]]

    # This process, and whatever it starts that is not pinned elsewhere, stays off the core of the servers.
    os.sched_setaffinity(0, {CORES[1]})
    os.chdir(ROOT)
    findings = []
    with tempfile.TemporaryDirectory(prefix="evenkeel-bench-") as folder:
        rounds = options.rounds or (1 if options.quick else 7)
        bench = Bench(Path(folder), binaries, rounds, options.quick)
        for name in options.only or COMPARISONS:
            say(name)
            findings += COMPARISONS[name](bench)
    if options.json:
        print(json.dumps({"rounds": bench.rounds, "findings": report.plain(findings), "raw": bench.raw}, indent=1))
    else:
        print(report.markdown(findings) if options.markdown else report.text(findings))
    missed = report.missed(findings)
    if options.check and missed:
        print("\nMissed:", *missed, sep="\n  ", file=sys.stderr)
        return 1
    return 0


def say(what: str) -> None:
    """Tells what is under way, without disturbing the output."""
    print(f"tests/bench/run: {what}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
