"""What is compared with what. Each comparison starts its servers, checks their answers and yields what it found."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bounds import (
    BUSY_OPERATORS,
    CALM,
    CALM_AGAIN,
    CPU,
    EVENKEEL,
    FEW,
    INSTRUCTIONS,
    NGINX,
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
)
from load import Lookups, Runs, callers, cpu, scrapes, writes
from operators import Flights, HungCollector, Watched, busy, has_export, instructions, leave_unheard, watched
from ratios import Finding, Round, alternate, compare
from servers import (
    DERIVED,
    PROJECTS,
    SMALL,
    TARGET,
    BatchGetConfigsRequest,
    Evenkeel,
    Nginx,
    Reference,
    Served,
    Target,
    check_answer,
    evenkeel,
    request,
    wait_until,
)

# How many projects are held, and outdated.
SCALES = {"1 k": 1_000, FEW: 2_000, "10 k": 10_000, "50 k": 50_000}


@dataclass
class Bench:
    """How much is measured, and with which binaries of evenkeel."""

    folder: Path
    binaries: list[Path]
    rounds: int
    quick: bool
    raw: dict[str, list[Round]] = field(default_factory=dict)

    @property
    def runs(self) -> Runs:
        return Runs(seconds=0.1 if self.quick else 1.5)

    def sidecar(self, name: str, binary: Path | None = None) -> AbstractContextManager[Evenkeel]:
        """Starts a sidecar of that name, of the first binary unless told otherwise."""
        return evenkeel(binary or self.binaries[0], self.folder / name.replace(" ", "-"), name)

    def alternate(self, case: str, variants: dict) -> list[Round]:
        self.raw[case] = alternate(self.rounds, variants)
        return self.raw[case]


def lookups(case: str) -> Lookups:
    """Lookups of one project of a size."""
    project, size = PROJECTS[case]
    return Lookups(request(project).SerializeToString(), project, size)


def wire(bench: Bench) -> Iterator[Finding]:
    """Fresh lookups against the references and nginx, each beside a second process of the same program."""
    with ExitStack() as stack:
        targets = _everyone(bench, stack)
        again = [f"{EVENKEEL} again", *(f"{EVENKEEL} {number}" for number in range(2, len(bench.binaries) + 1))]
        pairs = [(EVENKEEL, REFERENCE), (EVENKEEL, WELL), (EVENKEEL, NGINX), (WELL, REFERENCE)]
        pairs += [(f"{REFERENCE} again", REFERENCE), *((name, EVENKEEL) for name in again)]
        runs = bench.runs
        for case in PROJECTS:
            asked = lookups(case)
            busy = {target.name: partial(runs.busy, target, asked) for target in targets}
            yield from compare("wire", case, bench.alternate(f"wire, {case}, busy", busy), {RATE: "rate", CPU: "cpu"}, pairs)
            alone = {target.name: partial(runs.alone, target, asked) for target in targets}
            yield from compare("wire", case, bench.alternate(f"wire, {case}, alone", alone), {P50: "p50"}, pairs)
            count = 1280 if bench.quick else 12800
            traced = {target.name: partial(writes, target, asked, count) for target in targets if "again" not in target.name}
            rounds = bench.alternate(f"wire, {case}, traced", traced)
            for name in traced:
                yield Finding("wire", WRITES, case, name, "", tuple(found[name]["writes"] for found in rounds))


def _everyone(bench: Bench, stack: ExitStack) -> list[Target]:
    """Starts all servers with the answers of the first sidecar, and checks that all answer the same."""
    names = [EVENKEEL, *(f"{EVENKEEL} {number}" for number in range(2, len(bench.binaries) + 1))]
    sidecars = [stack.enter_context(bench.sidecar(name, binary)) for name, binary in zip(names, bench.binaries, strict=True)]
    sidecars.append(stack.enter_context(bench.sidecar(f"{EVENKEEL} again")))

    folder = bench.folder / "answers"
    folder.mkdir()
    payloads = {}
    for project, size in PROJECTS.values():
        answer = check_answer(sidecars[0].address, project, size)
        payloads[project] = answer.payload
        (folder / project).write_bytes(answer.SerializeToString())
    references = [
        stack.enter_context(Reference(TARGET / "bench" / profile, folder, bench.folder / f"{name}.log", name))
        for name, profile in ((REFERENCE, "release"), (f"{REFERENCE} again", "release"), (WELL, "well"))
    ]
    nginx = stack.enter_context(Nginx(payloads, bench.folder / "nginx"))

    targets = [*(reference.target for reference in references), *(sidecar.target for sidecar in sidecars)]
    for project, size in PROJECTS.values():
        answers = [check_answer(target.address, project, size) for target in targets]
        for answer in answers:
            # Each sidecar has a renderer of its own.
            answer.revision.ClearField("rendered_at")
        if any(answer != answers[0] for answer in answers):
            raise RuntimeError(f"not all servers answer the same for {project}")
    return [*targets, nginx.target]


def outdated(bench: Bench) -> Iterator[Finding]:
    """Outdated lookups while the renderer is dead against fresh ones, of one sidecar whose rollout goes up and down."""
    with bench.sidecar("outdated") as sidecar:
        sidecar.renderer.end()
        runs = bench.runs

        def with_rollout(rollout: int, served: int, asked: Lookups):
            sidecar.release(rollout)
            wait_until(lambda: all(sidecar.get(project, patience=0).served == served for project, _ in PROJECTS.values()))
            return runs.busy(sidecar.target, asked)

        for case in PROJECTS:
            asked = lookups(case)
            variants = {
                "fresh": partial(with_rollout, 1, Served.SERVED_FRESH, asked),
                "outdated": partial(with_rollout, 2, Served.SERVED_OUTDATED, asked),
            }
            rounds = bench.alternate(f"outdated, {case}", variants)
            yield from compare("outdated", case, rounds, {RATE: "rate", CPU: "cpu"}, [("outdated", "fresh")])


def unix(bench: Bench) -> Iterator[Finding]:
    """A Unix socket against TCP, of one sidecar."""
    with bench.sidecar("unix") as sidecar:
        runs = bench.runs
        tcp = sidecar.target
        targets = {"TCP": tcp, "Unix socket": replace(tcp, unix=sidecar.unix)}

        def both(target: Target, asked: Lookups) -> dict[str, float]:
            return {**runs.busy(target, asked), **runs.alone(target, asked)}

        for case in PROJECTS:
            variants = {name: partial(both, target, lookups(case)) for name, target in targets.items()}
            rounds = bench.alternate(f"unix, {case}", variants)
            metrics = {RATE: "rate", CPU: "cpu", P50: "p50"}
            yield from compare("unix", case, rounds, metrics, [("Unix socket", "TCP")])


def watchers(bench: Bench) -> Iterator[Finding]:
    """Lookups while 100 watches of the same project are open against none, of one sidecar."""
    with bench.sidecar("watchers") as sidecar:
        runs = bench.runs

        def with_watches(count: int):
            watches = [sidecar.watch(SMALL, timeout=None) for _ in range(count)]
            for watch in watches:
                assert next(watch).answer.payload
            wait_until(lambda: sidecar.metric("watchers") == count)
            found = runs.busy(sidecar.target, lookups("1 KiB"))
            for watch in watches:
                watch.cancel()
            return found

        variants = {"no watchers": partial(with_watches, 0), "100 watchers": partial(with_watches, 100)}
        rounds = bench.alternate("watchers", variants)
        yield from compare("watchers", "1 KiB", rounds, {RATE: "rate", CPU: "cpu"}, [("100 watchers", "no watchers")])


def storm(bench: Bench) -> Iterator[Finding]:
    """Lookups of all projects at a steady rate after a release against before it, of one sidecar with a budget of 20 renders/s."""
    projects, seconds = (40, 1) if bench.quick else (DERIVED, 8)
    with bench.sidecar("storm") as sidecar:
        held = [*(project for project, _ in PROJECTS.values()), *(f"{SMALL}-{number}" for number in range(1, projects + 1))]
        sidecar.holds(*held)
        sidecar.edit(admission={"rate": 20, "burst": 20, "concurrency": 4})
        sidecar.signal(signal.SIGHUP)
        wait_until(lambda: sidecar.metric("limit", setting="rate") == 20)

        def look_up(released: bool):
            # Asked for one by one, since only what somebody wants is refreshed.
            sidecar.holds(*held)
            if released:
                rollout = 1 + int(sidecar.metric("target_rollout"))
                sidecar.renderer.raise_rollout(rollout)
                sidecar.release(rollout)
            found = callers(sidecar.target, SMALL, projects, per_millisecond=4, seconds=seconds)
            if bool(found["outdated"]) != released:
                raise RuntimeError(f"{found['outdated']} outdated answers, and a release: {released}")
            return found

        rounds = bench.alternate("storm", {"calm": partial(look_up, False), "storm": partial(look_up, True)})
        yield from compare("storm", "1 KiB", rounds, {P99: "p99", CPU: "cpu"}, [("storm", "calm")])


def scale(bench: Bench) -> Iterator[Finding]:
    """What renders, scrapes and a raised target cost with many outdated projects; the renderer takes 1 ms, the rate is 1,000/s."""
    with ExitStack() as stack:
        sidecars = {size: stack.enter_context(_holding(bench, size)) for size in SCALES}
        variants = {size: partial(_release, bench, sidecar, _scaled(bench, size)) for size, sidecar in sidecars.items()}
        rounds = bench.alternate("scale", variants)
    for size in SCALES:
        if size != FEW:
            yield from compare("scale", size, rounds, {RENDER: "render", SCRAPE: "scrape"}, [(size, FEW)])
        found = [result[size] for result in rounds]
        yield Finding("scale", OUTDATED_P99, size, "release", "calm", tuple(result["release"] / result["calm"] for result in found))
        yield Finding("scale", RAISE, size, EVENKEEL, "", tuple(1e3 * (result["raise"] - result["no raise"]) for result in found))


@contextmanager
def _holding(bench: Bench, size: str) -> Iterator[Evenkeel]:
    """A sidecar that holds this many projects, all of them outdated, and renders nothing."""
    names = _scaled(bench, size)
    folder = bench.folder / f"scale-{size}".replace(" ", "-")
    # Nothing is stored, but each project is asked for before it is rendered for the first time.
    fetch = {"fetch": {"rate": 10_000, "concurrency": 64}}
    with evenkeel(bench.binaries[0], folder, size, derived=len(names), cost="1ms", upstream=fetch) as sidecar:
        sidecar.limit(10_000, burst=1_000, concurrency=64)
        wait_until(lambda: sidecar.look_up(names, patience=10) == len(names), within=120)
        sidecar.limit(0, burst=1, concurrency=16)
        _raise(sidecar)
        yield sidecar


def _scaled(bench: Bench, size: str) -> list[str]:
    return [f"{SMALL}-{number}" for number in range(1, 1 + (200 if bench.quick else SCALES[size]))]


def _raise(sidecar: Evenkeel) -> None:
    rollout = 1 + sidecar.settings["rollout"]
    sidecar.renderer.raise_rollout(rollout)
    sidecar.release(rollout)


def _release(bench: Bench, sidecar: Evenkeel, names: list[str]) -> dict[str, float]:
    """Calm, a raised target, and a part of a release: first without lookups, then with them. Seconds."""
    seconds = 0.2 if bench.quick else 0.6
    look_up = partial(callers, sidecar.target, SMALL, len(names), 4, seconds)
    # Only what somebody wants is refreshed.
    if sidecar.look_up(names, patience=0):
        raise RuntimeError("projects are fresh although the target was raised")
    wait_until(lambda: sidecar.metric("projects_wanted", **{"class": "outdated"}) >= len(names), within=30)
    calm = look_up()
    raised = look_up(meanwhile=partial(_raise, sidecar))
    found = {
        "calm": calm["outdated_p99"],
        "no raise": calm["outdated_longest"],
        "raise": raised["outdated_longest"],
        "scrape": scrapes(sidecar.target, sidecar.telemetry, 20 if bench.quick else 100),
    }
    # What a raised target costs is not part of what a render costs.
    wait_until(lambda: _is_idle(sidecar), within=30)
    sidecar.limit(1_000)
    renders, before = sidecar.metric("renders_total"), cpu(sidecar.pid)
    # At 1,000 renders/s: something is left to render at the end.
    time.sleep(min(1.2, 0.6e-3 * len(names)))
    after = cpu(sidecar.pid)
    found["render"] = (after - before) / (sidecar.metric("renders_total") - renders)
    sidecar.limit(0)
    _raise(sidecar)
    sidecar.limit(1_000)
    found["release"] = look_up()["outdated_p99"]
    sidecar.limit(0)
    _raise(sidecar)
    return found


def _is_idle(sidecar: Evenkeel) -> bool:
    before = cpu(sidecar.pid)
    time.sleep(0.1)
    return cpu(sidecar.pid) - before < 0.002


def batch(bench: Bench) -> Iterator[Finding]:
    """One call for 100 projects against lookups of one."""
    with bench.sidecar("batch") as sidecar:
        names = [f"{SMALL}-{number}" for number in range(1, 101)]
        sidecar.holds(*names)
        message = BatchGetConfigsRequest(projects=names)
        message.patience.SetInParent()
        many = Lookups(message.SerializeToString(), "", 100 * PROJECTS["1 KiB"][1], "BatchGetConfigs")
        results = sidecar.batch(names, patience=0)
        if [result.answer.revision.project for result in results] != names:
            raise RuntimeError("the batch is not answered as asked")
        runs = bench.runs
        variants = {
            "single lookup": partial(runs.busy, sidecar.target, lookups("1 KiB")),
            "batch of 100": partial(runs.busy, sidecar.target, many),
        }
        rounds = bench.alternate("batch", variants)
        yield from compare("batch", "1 KiB", rounds, {CPU: "cpu"}, [("batch of 100", "single lookup")])


def operators(bench: Bench) -> Iterator[Finding]:
    """Lookups one after another while operators look at the sidecar, its log is full and its collector hangs, against calm."""
    binary, asked = bench.binaries[0], lookups("1 KiB")
    runs = Runs(seconds=0.5 if bench.quick else 4)
    exports = has_export(binary, bench.folder)
    if not exports:
        print("tests/bench/run: no collector hangs: build with the feature `otlp`", file=sys.stderr)
    counted = {
        name: instructions(binary, bench.folder / f"instructions-{name}".replace(" ", "-"), asked, is_busy=is_busy, has_collector=exports)
        for name, is_busy in ((CALM, False), (BUSY_OPERATORS, True))
    }
    yield Finding("operators", INSTRUCTIONS, "1 KiB", BUSY_OPERATORS, CALM, (counted[BUSY_OPERATORS] / counted[CALM],))

    with ExitStack() as stack:
        collector = HungCollector() if exports else None
        calm, again = (stack.enter_context(watched(binary, bench.folder / name, name)) for name in ("calm", "again"))
        unheard = stack.enter_context(watched(binary, bench.folder / "unheard", "unheard", collector))
        leave_unheard(unheard, collector)

        def look_up(sidecar: Watched):
            with Flights(sidecar):
                return runs.alone(sidecar.target, asked)

        def look_up_busily():
            with busy(binary, unheard):
                return look_up(unheard)

        variants = {CALM: partial(look_up, calm), BUSY_OPERATORS: look_up_busily, CALM_AGAIN: partial(look_up, again)}
        rounds = bench.alternate("operators", variants)
    pairs = [(BUSY_OPERATORS, CALM), (CALM_AGAIN, CALM)]
    yield from compare("operators", "1 KiB", rounds, {P50: "p50", P99_ALONE: "p99"}, pairs)


COMPARISONS = {compared.__name__: compared for compared in (wire, outdated, unix, watchers, storm, scale, batch, operators)}
