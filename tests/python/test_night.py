"""The night: one situation a test, the real sidecar before the embedded renderer, and somebody who sees `evenkeel status` alone.

`/status` has the right code 3 s after it began, 10 s where the renderer hangs. It names the action of the table, and advises to
raise a limit of admission where the table does only. 20 s after it ended all is fresh, or on its way. Six of the situations run
always; with EVENKEEL_NIGHT=full all do, after a calm minute each, and each lasts for ten seconds more.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time

import grpc
import pytest

from embedded import ROOT, Embedded
from sidecar import BINARY, Sidecar, wait_until

FULL = os.environ.get("EVENKEEL_NIGHT") == "full"

at_length = pytest.mark.skipif(not FULL, reason="tests/long/night runs it")

# Nothing is left to do.
OVER = {"FRESH", "RECOVERING"}

# What an operator does about each code, as the page for operators has it.
TABLE = dict(
    re.findall(
        r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$",
        (ROOT / "deploy/README.md").read_text().split("<!-- verdicts")[1].split("<!-- end -->")[0],
        re.MULTILINE,
    )
)

# Those two say with numbers what the table says in words.
WITH_NUMBERS = {"BUDGET": "Done in about", "CONCURRENCY": "Raise `admission.concurrency`, or make renders quicker:"}


def status(sidecar):
    """What `/status` says as JSON."""
    connection = http.client.HTTPConnection(sidecar.telemetry, timeout=5)
    try:
        connection.request("GET", "/status", headers={"accept": "application/json"})
        response = connection.getresponse()
        assert response.headers["content-type"] == "application/json"
        body = response.read()
        assert len(body) <= 2048 and b"paperboy" not in body, body
        said = json.loads(body)
        assert_raises_no_limit(said["code"], said["do"])
        return said
    finally:
        connection.close()


def assert_raises_no_limit(code, do):
    """No code but BUDGET and CONCURRENCY advises to raise a limit of admission."""
    if code in WITH_NUMBERS:
        return
    for sentence in re.split(r"[:;.,?]", do.lower()):
        is_of_a_limit = re.search(r"\b(rate|fleet_rate|burst|concurrency|queue|limits?|admission)\b", sentence)
        raises = re.search(r"raise|higher|increase|lift|more", sentence)
        denies = re.search(r"not raise|no use|lower|memory limit", sentence)
        assert not (is_of_a_limit and raises) or denies, f"{code} advises to raise a limit: {do}"


def screen(*addresses):
    """What `evenkeel status` shows, and of it the code and the action."""
    done = subprocess.run([BINARY, "status", *addresses], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    code, action = re.search(r"^([A-Z_]+) .*\ndo +(.+)$", done.stdout, re.MULTILINE).groups()
    return done.stdout, code, action


def assert_action(code, action, word):
    """The action is the one of the table, and the one that helps."""
    expected = WITH_NUMBERS.get(code)
    assert action.startswith(expected) if expected else action == TABLE[code], (code, action)
    assert word in action, action


class Load:
    """Applications that look projects up all the time, and do not wait."""

    def __init__(self, sidecar, projects):
        self._sidecar, self.projects = sidecar, list(projects)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_up, daemon=True)
        self._thread.start()

    def _look_up(self):
        while not self._is_over.wait(0.2):
            with contextlib.suppress(grpc.RpcError):
                self._sidecar.batch(self.projects, patience=0)

    def stop(self):
        self._is_over.set()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Night:
    """A renderer and sidecars before it, one of which is watched."""

    def __init__(self, folder):
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._sidecars = 0
        self.renderer = None

    def renders(self, **flags):
        """Starts the embedded renderer; by default it renders 60 projects quickly."""
        self.renderer = Embedded(self._folder, **flags)
        self._stack.callback(lambda: self.renderer.stop())
        return self.renderer

    def starts(self, url=None, **settings) -> Sidecar:
        """Starts a sidecar, as good as without limits."""
        folder = self._folder / f"sidecar-{self._sidecars}"
        folder.mkdir()
        self._sidecars += 1
        settings["upstream"] = {"deadline": "30s"} | settings.get("upstream", {})
        sidecar = Sidecar(folder, url or self.renderer.url, **settings)
        self._stack.callback(lambda: print(f"--- {sidecar.log_file}\n{sidecar.log()[-20_000:]}"))
        self._stack.callback(sidecar.stop)
        return sidecar.start()

    def holds(self, projects=None, *, url=None, limits=None, **settings):
        """Starts a sidecar that holds all projects fresh and is asked for them, and then gives it limits."""
        projects = projects or self.renderer.projects
        sidecar = self.starts(url, **settings)
        sidecar.batch(projects, patience=10)
        wait_until(lambda: status(sidecar)["facts"]["fresh"] == len(projects), within=10)
        self.limits(sidecar, **({"rate": 50, "burst": 5, "concurrency": 4} | (limits or {})))
        load = self.is_asked(sidecar, projects)
        self.calm(sidecar)
        return sidecar, load

    def is_asked(self, sidecar, projects):
        load = Load(sidecar, projects)
        self._stack.callback(load.stop)
        return load

    def calm(self, sidecar):
        """A minute in which all is well: renders have a usual time, and nothing is left in the window."""
        end = time.monotonic() + (62 if FULL else 0)
        while time.monotonic() < end:
            time.sleep(1)
            assert status(sidecar)["code"] in OVER, screen(sidecar.telemetry)[0]

    def limits(self, sidecar, **limits):
        sidecar.edit(admission=limits)
        sidecar.signal(signal.SIGHUP)
        for name, limit in limits.items():
            wait_until(lambda: sidecar.metric("limit", setting=name) == limit)

    def releases(self, sidecar, rollout=2):
        """The renderers first, then the sidecar."""
        if self.renderer:
            self.renderer.release(rollout)
        sidecar.release(rollout)

    @contextlib.contextmanager
    def says(self, sidecar, code, word, *, within=3.0, later=()):
        """What begins inside leads to this code and this action in time, and to no other code but `later` as long as it lasts."""
        began = time.monotonic()
        yield
        said = []
        while time.monotonic() < began + within:
            said.append(status(sidecar)["code"])
            time.sleep(0.1)
        text, shown, action = screen(sidecar.telemetry)
        assert shown == code, f"{' '.join(said)}, and not {code} after {within} s:\n{text}"
        assert_action(shown, action, word)
        while FULL and time.monotonic() < began + within + 10:
            text, shown, action = screen(sidecar.telemetry)
            assert shown in {code, *later}, f"{time.monotonic() - began:.1f} s:\n{text}"
            assert_action(shown, action, "")
            time.sleep(0.5)

    def suffers(self, fault, *, code, word):
        """Releases while the renderer has a fault: the sidecar says that code and word until the renderer is well."""
        self.renders()
        sidecar, _ = self.holds()
        with self.says(sidecar, code, word):
            self.renderer.fault(fault)
            self.releases(sidecar)
        self.renderer.well()
        self.is_over(sidecar)

    def is_over(self, sidecar, within=20.0):
        """After that time all is fresh, or on its way without anything to do, and stays so. Most of it takes less."""
        wait_until(lambda: status(sidecar)["code"] in OVER, within=within, every=0.1)

    def ends(self):
        self._stack.close()


@pytest.fixture
def night(tmp_path):
    night = Night(tmp_path)
    yield night
    night.ends()


# The seven faults of the renderer.


@at_length
def test_a_slow_renderer_needs_cpu(night):
    """Its first slow renders were hidden by the quick ones before the release: it advised to raise the concurrency."""
    night.renders(cost="100ms")
    sidecar, _ = night.holds()
    with night.says(sidecar, "SLOW", "CPU"):
        night.renderer.fault("slow")
        night.releases(sidecar)
    night.renderer.well()
    night.is_over(sidecar)


def test_a_dead_renderer_is_unreachable(night):
    night.suffers("dead", code="UNREACHABLE", word="`upstream.url`")


def test_a_renderer_that_hangs_is_to_be_restarted(night):
    """Nothing said so for 30 s: the gate was `concurrency`, which advised to raise it."""
    night.renders()
    sidecar, _ = night.holds()
    with night.says(sidecar, "HANGING", "restart", within=10):
        night.renderer.fault("hang")
        night.releases(sidecar)
    night.renderer.restart()
    night.is_over(sidecar)


@at_length
def test_a_renderer_that_flaps_is_unreachable(night):
    night.renders()
    sidecar, _ = night.holds(limits={"rate": 2, "burst": 1})
    with night.says(sidecar, "UNREACHABLE", "renderer"):
        night.renderer.fault("flap")
        night.releases(sidecar)
    night.limits(sidecar, rate=50)
    night.renderer.well()
    night.is_over(sidecar)


def test_a_renderer_that_is_behind_is_to_be_rolled_out(night):
    night.renders()
    sidecar, _ = night.holds()
    with night.says(sidecar, "BEHIND", "roll-out"):
        night.renderer.fault("behind")
        night.releases(sidecar)
    assert status(sidecar)["outdated_because"]
    night.renderer.well()
    night.is_over(sidecar)


@at_length
def test_a_renderer_that_answers_garbage_is_to_be_fixed(night):
    night.suffers("garbage", code="REJECTED", word="fix the renderer")


@at_length
def test_a_busy_renderer_needs_others_beside_it(night):
    night.suffers("busy", code="OVERLOADED", word="Add renderers")


# Limits.


def test_a_rate_of_zero_is_to_be_set(night):
    night.renders()
    sidecar, _ = night.holds()
    with night.says(sidecar, "STOPPED", "`admission.rate`"):
        night.limits(sidecar, rate=0)
        night.releases(sidecar)
    night.limits(sidecar, rate=50)
    night.is_over(sidecar)


def test_a_budget_says_when_the_release_is_done(night):
    night.renders()
    sidecar, _ = night.holds(limits={"rate": 2, "burst": 1})
    with night.says(sidecar, "BUDGET", "raise `admission.rate`"):
        night.releases(sidecar)
    night.limits(sidecar, rate=100)
    night.is_over(sidecar)


@at_length
def test_a_rate_that_overloads_the_renderer_is_to_be_lowered(night):
    night.renders(workers=2, queue=4, cost="200ms")
    gentle = {"rate": 8, "burst": 1, "concurrency": 2}
    sidecar, _ = night.holds(limits=gentle, admission={"rate": 1000, "burst": 1000, "concurrency": 2})
    with night.says(sidecar, "OVERLOADED", "lower the rate", later=["RECOVERING"]):
        night.limits(sidecar, rate=1000, burst=1000, concurrency=64)
        night.releases(sidecar)
    night.limits(sidecar, **gentle)
    night.is_over(sidecar)


@at_length
def test_a_concurrency_of_one_is_to_be_raised(night):
    night.renders(cost="300ms")
    sidecar, _ = night.holds(limits={"concurrency": 1})
    with night.says(sidecar, "CONCURRENCY", "Raise `admission.concurrency`"):
        night.releases(sidecar)
    night.limits(sidecar, concurrency=16)
    night.is_over(sidecar)


# Callers, settings, projects, the cache.


def test_mistyped_names_are_the_callers(night):
    """Counted as outdated, they looked like a release that needs a higher rate."""
    night.renders()
    sidecar, load = night.holds()
    known = list(load.projects)
    with night.says(sidecar, "UNKNOWN_NAMES", "do not exist"):
        load.projects = [*known, *(f"typo-{number}" for number in range(25))]
    load.projects = known
    night.is_over(sidecar)


@at_length
def test_new_names_without_end_fill_the_queue(night):
    night.renders()
    sidecar, load = night.holds(limits={"rate": 5, "burst": 1, "queue": 8})
    known = list(load.projects)
    with night.says(sidecar, "UNKNOWN_NAMES", "too many at once"):
        load.projects = [*known, *(f"new-{number}" for number in range(500))]
    load.projects = known
    night.is_over(sidecar)


@at_length
def test_bad_settings_are_said_beside_what_else_is_the_case(night):
    night.renders()
    sidecar, _ = night.holds()
    sidecar.write_settings("rollout: two\n")
    wait_until(lambda: status(sidecar)["beside"] == ["SETTINGS_BAD"], within=3)
    text, code, action = screen(sidecar.telemetry)
    assert code == "FRESH" and action == "Nothing.", text
    assert f"\nSETTINGS_BAD {TABLE['SETTINGS_BAD']}\n" in text, text
    sidecar.edit()
    wait_until(lambda: status(sidecar)["beside"] == [], within=20)
    night.is_over(sidecar)


@at_length
def test_two_poison_projects_are_to_be_fixed(night):
    night.renders()
    sidecar, _ = night.holds()
    with night.says(sidecar, "SOME_FAIL", "fix their input"):
        for project in ["kiosk-sued", "paperboy"]:
            night.renderer.spoil(project)
        night.releases(sidecar)
    night.renderer.repair()
    night.is_over(sidecar)


@at_length
def test_a_cache_that_is_too_small_is_to_be_enlarged(night):
    night.renders()
    sidecar = night.starts(cache={"max_bytes": "64KiB"}, admission={"rate": 50, "burst": 5, "concurrency": 4})
    with night.says(sidecar, "CACHE_TOO_SMALL", "`cache.max_bytes`"):
        load = night.is_asked(sidecar, night.renderer.projects)
    load.stop()
    enlarged = night.starts(cache={"max_bytes": "64MiB"}, admission={"rate": 50, "burst": 5, "concurrency": 4})
    night.is_asked(enlarged, night.renderer.projects)
    night.is_over(enlarged)


@at_length
def test_a_release_without_any_trouble_needs_nothing(night):
    night.renders(cost="100ms")
    sidecar, _ = night.holds(limits={"rate": 1000, "burst": 1000, "concurrency": 200})
    with night.says(sidecar, "FRESH", "Nothing."):
        night.releases(sidecar)
    night.is_over(sidecar, within=1)


# What else may happen.


@at_length
def test_a_frozen_renderer_is_to_be_restarted(night):
    night.renders()
    sidecar, _ = night.holds()
    with night.says(sidecar, "HANGING", "restart", within=10, later=["UNREACHABLE"]):
        night.renderer.release(2)
        night.renderer.process.send_signal(signal.SIGSTOP)
        sidecar.release(2)
    night.renderer.process.send_signal(signal.SIGCONT)
    night.is_over(sidecar)


@at_length
def test_a_wrong_port_is_unreachable(night):
    night.renders()
    sidecar = night.starts(url="http://127.0.0.1:1", start={"grace": "0s"})
    with night.says(sidecar, "UNREACHABLE", "`upstream.url`"):
        night.is_asked(sidecar, night.renderer.projects)
    right = night.starts()
    night.is_asked(right, night.renderer.projects)
    night.is_over(right)


@at_length
def test_a_renderer_that_refuses_the_identity_is_to_be_looked_at(night, renderer):
    sidecar, _ = night.holds([f"shop-{number}" for number in range(60)], url=renderer.url)
    with night.says(sidecar, "FAILING", "Check the renderer"):
        renderer.fails(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        sidecar.release(2)
    renderer.answers()
    night.is_over(sidecar, within=40)


@at_length
def test_a_renderer_that_pushes_all_sidecars_back_needs_others_beside_it(night, renderer):
    sidecar, _ = night.holds([f"shop-{number}" for number in range(60)], url=renderer.url)
    pushback = [("grpc-retry-pushback-ms", "2000"), ("evenkeel-pushback-scope", "global")]
    with night.says(sidecar, "OVERLOADED", "Add renderers"):
        renderer.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "all of you", trailers=pushback)
        sidecar.release(2)
    renderer.answers()
    night.is_over(sidecar)


@at_length
def test_new_pods_all_at_once_wait_for_their_budget(night):
    night.renders(no_store=True)
    limits = {"rate": 4, "burst": 1, "concurrency": 4, "queue": 512}
    sidecars = [night.starts(admission=limits) for _ in range(4)]
    with night.says(sidecars[0], "BUDGET", "Done in about"):
        for sidecar in sidecars:
            night.is_asked(sidecar, night.renderer.projects)
    text, code, action = screen(*(sidecar.telemetry for sidecar in sidecars))
    assert code == "BUDGET", text
    assert_action(code, action, "Done in about")
    for sidecar in sidecars:
        night.is_over(sidecar)


@at_length
def test_one_sidecar_with_other_settings_is_named(night):
    night.renders()
    sidecars = [night.starts() for _ in range(3)]
    night.limits(sidecars[1], rate=7)
    text, code, action = screen(*(sidecar.telemetry for sidecar in sidecars))
    hashes = [status(sidecar)["settings"] for sidecar in sidecars]
    assert (code, action) == ("FRESH", "Nothing."), text
    assert f"settings {hashes[0]} (2), {hashes[1]} (1)\n" in text, text
    assert re.search(rf"^differs .*\({sidecars[1].telemetry}\).*settings {hashes[1]}$", text, re.MULTILINE), text
