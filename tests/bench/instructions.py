"""Fails when a lookup costs more instructions than it did: a fresh one beside the reference, an outdated one beside a fresh one.
Fails, too, when a landing costs more where more projects are outdated.

callgrind counts them in the builds for tests, of evenkeel and of the well-built reference, so that compiler and libraries weigh on
both. The same server runs twice, with some lookups and with more of them: what starting and ending it costs cancels out.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from load import ALONE, Lookups, h2load
from servers import PROJECTS, REFERENCE, ROOT, TARGET, Reference, Served, Target, build, check_answer, evenkeel, request, wait_until

BINARY = TARGET / "ci/evenkeel"
RECORDED = Path(__file__).parent / "instructions.json"
FEW, MANY = 200, 1200

# By how much the ratio to the reference may grow over the recorded one, and the most that an outdated lookup may cost.
MAY_GROW = 1.03
OUTDATED = 1.15

# Tests of `src/lookup/tests/landings.rs`, with eight times as many outdated projects in the second; the function in them that counts;
# and the most that it may cost in the second: a landing that spends twenty instructions on each outdated project costs more.
RELEASES = [f"lookup::tests::landings::a_release_goes_on_with_{projects}_outdated_projects" for projects in ("300", "2_400")]
LANDINGS = "*::landings_of_a_release"
MORE_OUTDATED = 1.15

PROJECT, SIZE = PROJECTS["1 KiB"]
LOOKUPS = Lookups(request(PROJECT).SerializeToString(), PROJECT, SIZE)
TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)

Started = Callable[[Path, tuple], Iterator[Target]]


@contextmanager
def fresh(folder: Path, prefix: tuple) -> Iterator[Target]:
    with evenkeel(BINARY, folder / "sidecar", prefix=prefix, drain={"grace": "0s"}) as sidecar:
        yield sidecar.target
        # callgrind writes when the process ends by itself.
        sidecar.signal(signal.SIGTERM)
        sidecar.wait_for_exit(within=60)


@contextmanager
def outdated(folder: Path, prefix: tuple) -> Iterator[Target]:
    """Outdated for a reason that is known for long: the budget is nothing."""
    with evenkeel(BINARY, folder / "sidecar", prefix=prefix, drain={"grace": "0s"}) as sidecar:
        sidecar.edit(admission={"rate": 0})
        sidecar.signal(signal.SIGHUP)
        wait_until(lambda: sidecar.metric("limit", setting="rate") == 0)
        sidecar.release(2)
        wait_until(lambda: sidecar.get(PROJECT, patience=0).served == Served.SERVED_OUTDATED)
        yield sidecar.target
        sidecar.signal(signal.SIGTERM)
        sidecar.wait_for_exit(within=60)


def reference(answers: Path) -> Started:
    @contextmanager
    def started(folder: Path, prefix: tuple) -> Iterator[Target]:
        with Reference(TARGET / "bench/ci", answers, folder / "reference.log", "reference", prefix) as server:
            yield server.target

    return started


def per_lookup(started: Started) -> float:
    """Instructions of one lookup."""
    few, many = (_total(started, lookups) for lookups in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def _total(started: Started, lookups: int) -> int:
    with tempfile.TemporaryDirectory(prefix="evenkeel-instructions-") as name:
        folder = Path(name)
        counted = folder / "counted"
        valgrind = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={counted}", "--quiet")
        with started(folder, valgrind) as target:
            h2load(target, LOOKUPS, ALONE, lookups)
        return int(TOTALS.search(counted.read_text())[1])


def of_landings() -> list[int]:
    """Instructions of the landings of each release; they are counted side by side."""
    tests = _unit_tests()
    with tempfile.TemporaryDirectory(prefix="evenkeel-instructions-") as name:
        counted = [Path(name) / str(number) for number in range(len(RELEASES))]
        running = []
        for release, file in zip(RELEASES, counted, strict=True):
            valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}", f"--toggle-collect={LANDINGS}", "--quiet"]
            running.append(subprocess.Popen([*valgrind, tests, "--exact", release], stdout=subprocess.PIPE, text=True))
        said = [process.communicate()[0] for process in running]
        if any("1 passed" not in text for text in said):
            raise RuntimeError("a release failed:\n" + "\n".join(said))
        found = [int(TOTALS.search(file.read_text())[1]) for file in counted]
    if not all(found):
        raise RuntimeError(f"{LANDINGS} is no function of {RELEASES}")
    return found


def _unit_tests() -> str:
    """The binary of the unit tests."""
    environment = {**os.environ, "PROTOC": "/nonexistent"}
    command = ["cargo", "test", "--locked", "--quiet", "--profile", "ci", "--lib", "--no-run", "--message-format=json"]
    output = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    built = (json.loads(line).get("executable") for line in output.splitlines())
    return next(filter(None, built))


def answers_of_a_sidecar(folder: Path) -> Path:
    """What the reference is to answer."""
    with evenkeel(BINARY, folder / "sidecar") as sidecar:
        answers = folder / "answers"
        answers.mkdir()
        (answers / PROJECT).write_bytes(check_answer(sidecar.address, PROJECT, SIZE).SerializeToString())
    return answers


def main() -> int:
    build("--features", "well", profile="ci", package=REFERENCE)
    # With the tests: the binary alone would be built with other features of its libraries.
    build("--all-targets", profile="ci")
    _unit_tests()
    if sys.argv[1:] == ["--only-build"]:
        return 0
    with tempfile.TemporaryDirectory(prefix="evenkeel-answers-") as folder:
        baseline = per_lookup(reference(answers_of_a_sidecar(Path(folder))))
    fresh_lookup, outdated_lookup = per_lookup(fresh), per_lookup(outdated)
    fewer, more = of_landings()
    found = fresh_lookup / baseline
    of_outdated = outdated_lookup / fresh_lookup
    print(f"instructions of a fresh lookup: {found:.3f} of the reference's; of an outdated one: {of_outdated:.3f} of a fresh one's")
    print(f"instructions of a landing with eight times as many outdated projects: {more / fewer:.3f}")

    if os.environ.get("UPDATE_INSTRUCTIONS"):
        RECORDED.write_text(json.dumps({"fresh lookup / reference": round(found, 3)}, indent=1) + "\n")
    recorded = json.loads(RECORDED.read_text())["fresh lookup / reference"]
    failed = False
    if found > recorded * MAY_GROW:
        failed = True
        print(
            f"more than 3 % above the {recorded} that {RECORDED.name} records: find out why, "
            "or record anew with UPDATE_INSTRUCTIONS=1 and say in the commit what it buys",
            file=sys.stderr,
        )
    elif found < recorded / MAY_GROW:
        print(f"more than 3 % below the {recorded} that {RECORDED.name} records: record anew with UPDATE_INSTRUCTIONS=1 to keep it")
    if of_outdated > OUTDATED:
        failed = True
        print(f"an outdated lookup may cost at most {OUTDATED} of a fresh one", file=sys.stderr)
    if more / fewer > MORE_OUTDATED:
        failed = True
        print(f"a landing may cost at most {MORE_OUTDATED} where eight times as many projects are outdated", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
