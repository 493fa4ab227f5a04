"""`evenkeel plan --fit`: three storms are recorded, and what other limits would do is compared with what they then do.

A storm is a release while 30 projects are looked up once a second each: before a renderer that is well, before one that is slow for a
while, and before one with so few workers that renders wait for each other there. Predicted renders, outdated answers and the time to
fresh have to be within 10 % of the real ones, or within 2 renders, 2 points and 1 s. The real ones are medians of three runs, and the
predicted ones medians of three records, on a calm machine: tests/long/plan runs it.
"""

import json
import os
import signal
import statistics
import subprocess
import threading
import time
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from embedded import Embedded
from sidecar import BINARY, Sidecar, wait_until

FULL = os.environ.get("EVENKEEL_FIT") == "full"
RUNS = 3 if FULL else 1

PROJECTS = 30
CALM, LASTS = 14.0, 32.0


@dataclass(frozen=True)
class Storm:
    name: str
    recorded: dict
    other: dict
    renderer: dict
    slow_for: float = 0.0
    workers: int | None = None
    note: str = ""


STORMS = [
    Storm(
        "a release",
        recorded={"rate": 3, "burst": 3, "concurrency": 4},
        other={"rate": 6, "burst": 3, "concurrency": 4},
        renderer={"cost": "100ms..200ms", "workers": 8},
        note="No render was seen to wait",
    ),
    Storm(
        "a slow renderer",
        recorded={"rate": 4, "burst": 3, "concurrency": 4},
        other={"rate": 6, "burst": 6, "concurrency": 8},
        renderer={"cost": "150ms..250ms", "workers": 16},
        slow_for=4.0,
        note="Up to 6 would be in flight",
    ),
    Storm(
        "a queue at the renderer",
        recorded={"rate": 100, "burst": 50, "concurrency": 8},
        other={"rate": 100, "burst": 50, "concurrency": 3},
        renderer={"cost": "500ms..700ms", "workers": 3},
        workers=3,
        note="The renderer worked on 3 renders at once",
    ),
]


@dataclass
class Seen:
    """What a storm came to."""

    renders: float
    outdated: float
    fresh_after: float


class Callers:
    """Looks every project up once a second, evenly, whatever becomes of it."""

    def __init__(self, sidecar, projects):
        self._sidecar, self._projects = sidecar, projects
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()

    def _call(self):
        due, calls = time.monotonic(), []
        while not self._ends.is_set():
            for project in self._projects:
                due += 1 / len(self._projects)
                self._ends.wait(max(0.0, due - time.monotonic()))
                calls.append(self._sidecar.getting(project, patience=None))
        for call in calls:
            # Whether it is answered is the sidecar's business; that it ends is ours.
            call.exception()


def go_through(storm, limits, folder):
    """Goes through a storm in real time; returns what was seen, and its record."""
    folder.mkdir(parents=True)
    renderer = Embedded(folder, no_store=True, **storm.renderer)
    sidecar = Sidecar(folder, renderer.url, record=["--record", folder], admission=limits, log={"level": "info"})
    try:
        sidecar.start()
        projects = renderer.projects[:PROJECTS]
        began = time.monotonic()
        with Callers(sidecar, projects):
            wait_until(lambda: time.monotonic() > began + CALM, within=2 * CALM)
            renderer.release(2)
            sidecar.release(2)
            raised = time.monotonic()
            if storm.slow_for:
                threading.Timer(1.0, renderer.fault, [f"slow,for={storm.slow_for}s"]).start()
            wait_until(lambda: sidecar.metric("projects", state="outdated") == 0, within=2 * LASTS, every=0.1)
            fresh_after = time.monotonic() - raised
            wait_until(lambda: time.monotonic() > began + LASTS, within=2 * LASTS)
        lookups = sidecar.metric("lookups_total")
        seen = Seen(
            renders=sidecar.metric("renders_total"),
            outdated=sidecar.metric("lookups_total", served="outdated") / lookups,
            fresh_after=fresh_after,
        )
        assert sidecar.metric("projects", state="fresh") == PROJECTS
        sidecar.hang_up()
        sidecar.signal(signal.SIGTERM)
        assert sidecar.wait_for_exit(within=15) == 0
        (record,) = folder.glob("evenkeel-*.jsonl")
        return seen, record
    finally:
        sidecar.stop()
        renderer.stop()


def plan(record, *arguments):
    done = subprocess.run([BINARY, "plan", "--fit", record, *arguments], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def flags(limits):
    return [f"--{name}={value}" for name, value in limits.items()]


def median(seen):
    return Seen(*(statistics.median(getattr(one, name) for one in seen) for name in ("renders", "outdated", "fresh_after")))


def of_course(course):
    return Seen(course["renders"], course["outdated_share"], course["fresh_after_seconds"])


def misses(predicted, real, what):
    """The figures that differ by more than they may."""
    missed = []
    for name, least in [("renders", 2), ("outdated", 0.02), ("fresh_after", 1.0)]:
        is_, was = getattr(predicted, name), getattr(real, name)
        if abs(is_ - was) > max(0.1 * was, least):
            missed.append(f"{what}: {name} {is_:.3f} instead of {was:.3f}")
    return missed


def go_through_all(root):
    """Every storm, with the limits it is recorded with and with the others; all at once."""
    runs = [
        (storm, which, run, limits)
        for storm in STORMS
        for which, limits in [("recorded", storm.recorded), ("other", storm.other)]
        for run in range(RUNS)
    ]
    found = {}
    with ThreadPoolExecutor(2 * len(STORMS)) as pool:
        folders = [root / f"{STORMS.index(storm)}-{which}-{run}" for storm, which, run, _ in runs]
        storms, limits = [storm for storm, *_ in runs], [limits for *_, limits in runs]
        for (storm, which, _, _), one in zip(runs, pool.map(go_through, storms, limits, folders), strict=True):
            found.setdefault((storm.name, which), []).append(one)
    return found


def missed_of(storm, recorded, other):
    """What is wrong with the prediction of a storm."""
    reports = []
    for _, record in recorded:
        code, line, said = plan(record, *flags(storm.other), "--output", "json")
        assert (code, said) == (0, "")
        reports.append(json.loads(line))
    was, is_ = median([seen for seen, _ in recorded]), median([seen for seen, _ in other])
    print(storm.name, "was", was, "with other limits", is_)
    missed = []
    for which, real in [("recorded", was), ("replayed", was), ("changed", is_)]:
        told = median([of_course(report[which]) for report in reports])
        print(" ", which, told)
        missed += misses(told, real, f"{storm.name}, {which}")
    # With other limits it is another storm.
    if abs(is_.fresh_after - was.fresh_after) < 1.5:
        missed.append(f"{storm.name}: {was} and {is_} are alike")
    workers = statistics.median(report["workers"] or 0 for report in reports)
    if workers != (storm.workers or 0):
        missed.append(f"{storm.name}: {workers} workers")
    if not any(storm.note in note for note in reports[0]["notes"]):
        missed.append(f"{storm.name}: {reports[0]['notes']}")
    return missed


@pytest.mark.long
@pytest.mark.skipif(not FULL, reason="compares times with those of a calm machine: tests/long/plan runs it")
def test_what_other_limits_would_do_is_what_they_do(tmp_path):
    found = go_through_all(tmp_path)
    missed = [missed_of(storm, found[storm.name, "recorded"], found[storm.name, "other"]) for storm in STORMS]
    assert not any(missed), missed


@pytest.fixture
def record(start_sidecar, tmp_path):
    """The record of a little release."""
    sidecar = start_sidecar(record=["--record", tmp_path], admission={"rate": 3, "burst": 3, "concurrency": 4})
    names = [f"shop-{number}" for number in range(6)]
    sidecar.batch(names, patience=10)
    sidecar.release(2)
    wait_until(lambda: all(result.answer.revision.rollout == 2 for result in sidecar.batch(names)))
    sidecar.hang_up()
    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait_for_exit(within=15) == 0
    (file,) = tmp_path.glob("evenkeel-*.jsonl")
    return file


def test_a_replay_is_a_table_and_a_picture(record, tmp_path):
    picture = tmp_path / "fit.svg"
    code, table, said = plan(record, "--rate", "6", "--svg", picture)
    assert (code, said) == (0, "")
    for words in ["fit   ", "recorded", "replayed", "--rate 6", "answers outdated", "all fresh after the raise", "3, 3, 4"]:
        assert words in table, table
    texts = "".join(xml.etree.ElementTree.parse(picture).getroot().itertext())
    assert "with --rate 6" in texts and "answers outdated" in texts
    code, table, _ = plan(record)
    assert code == 0 and "--rate" not in table


def test_what_is_no_record_is_refused_with_its_line(record, tmp_path):
    lines = record.read_text().splitlines()
    file = tmp_path / "record.jsonl"

    def refused(*written):
        file.write_text("\n".join(written) + "\n")
        code, _, said = plan(file)
        assert code == 2, said
        return said

    assert f"{file}:1: a record of the schema `evenkeel.record/2`" in refused(lines[0].replace("record/1", "record/2"))
    assert f"{file}:3: not a line of a record" in refused(lines[0], lines[1], lines[2][:-5], lines[3])
    assert f"{file}:2: -1 is no time in seconds" in refused(lines[0], '{"at":-1.0,"target":2}')
    assert "nothing was looked up" in refused(lines[0])
    file.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:9])
    code, table, _ = plan(file)
    assert code == 0 and "cut off" in table

    code, _, said = plan(tmp_path / "none")
    assert code == 1 and "cannot read --fit" in said
    code, _, said = plan(record, "--rate", "3:6")
    assert code == 2 and "--rate 6: expected one value" in said
    code, _, said = plan(record, "--pods", "3")
    assert code == 2 and "--pods" in said
