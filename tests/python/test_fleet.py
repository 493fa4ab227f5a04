"""Sidecars that share one budget, and what they render, through a real redis-server; counted at the renderer."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from sidecar import Sidecar, reason, served, wait_until

README = Path(__file__).parents[2] / "deploy/README.md"

PROJECTS = [f"demo/{n}" for n in range(60)]
RATE = 30
SIDECARS = 4
# What a release takes at the fleet's rate.
IDEAL = len(PROJECTS) / RATE


class Store:
    """A redis-server on a port of 127.0.0.1, which it keeps over `kill` and `start`."""

    def __init__(self, folder):
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.folder]
        command += ["--save", "", "--appendonly", "no", "--logfile", ""]
        with (self.folder / "store.log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers, within=10)

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == "+PONG"
        except OSError:
            return False

    def ask(self, *lines: str) -> str:
        """Sends commands, and returns the first line of the last one's answer, where all answer with one line."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            answers = connection.makefile()
            for line in lines:
                connection.sendall(f"{line}\r\n".encode())
                answer = answers.readline().strip()
            return answer

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    store = Store(folder)
    store.start()
    yield store
    store.kill()


@pytest.fixture
def black_hole():
    """Accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        accepted = []
        ended = threading.Event()

        def accept():
            while not ended.is_set():
                try:
                    accepted.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        for connection in accepted:
            connection.close()


@pytest.fixture
def start_fleet(renderer, tmp_path):
    """Starts sidecars that share a store and a rate, in front of one renderer."""
    started = []

    def start(url, count=SIDECARS, rate=RATE, **store) -> list[Sidecar]:
        fleet = []
        for number in range(len(started), len(started) + count):
            folder = tmp_path / f"sidecar-{number}"
            folder.mkdir()
            sidecar = Sidecar(folder, renderer.url, store={"url": url, **store})
            sidecar.settings["admission"] = {"fleet_rate": rate, "fleet_size": count, "burst": 1, "concurrency": 8}
            started.append(sidecar)
            fleet.append(sidecar)
        for sidecar in fleet:
            sidecar.start()
        return fleet

    yield start
    for sidecar in started:
        sidecar.stop()
        print(f"--- {sidecar.log_file}\n{sidecar.log()}")


def mode(sidecar) -> str:
    """As one scrape has it; empty where nothing answers."""
    found = re.search(r'^evenkeel_fleet_mode\{mode="(\w+)"\} 1(\.0)?$', sidecar.http("/metrics")[1], re.MULTILINE)
    return found[1] if found else ""


def all_are(fleet, wanted: str) -> bool:
    return all(mode(sidecar) == wanted for sidecar in fleet)


def have_met(fleet) -> bool:
    """Whether each knows of all: none renders with another's part then."""
    return all(sidecar.metric("fleet_sidecars", state="present") == len(fleet) for sidecar in fleet)


def join(fleet) -> None:
    wait_until(lambda: all_are(fleet, "joined") and have_met(fleet), within=15)


def hold_all(fleet) -> None:
    """Has each sidecar hold all projects."""
    for sidecar in fleet:
        wait_until(lambda: all(result.HasField("answer") for result in sidecar.batch(PROJECTS, patience=5)), within=30)


def release(fleet, rollout: int) -> None:
    """Raises the target everywhere at once, and has all projects looked up."""
    for sidecar in fleet:
        sidecar.edit(rollout=rollout)
        sidecar.signal(signal.SIGHUP)
    for sidecar in fleet:
        wait_until(lambda: sidecar.metric("target_rollout") == rollout)
        sidecar.batch(PROJECTS, patience=0)


def is_fresh(fleet) -> bool:
    return all(sidecar.metric("projects", state="fresh") == len(PROJECTS) for sidecar in fleet)


def most_within(starts: list[float], window: float) -> int:
    return max(sum(begin <= start <= begin + window for start in starts) for begin in starts)


def check_budget(starts: list[float], rate: float = RATE, beside: int = 0) -> None:
    """In any window no more starts than the rate allows; each may be seen some 100 ms late, and as much too early."""
    for window in (0.5, 1.0, 2.0, 5.0):
        assert most_within(starts, window) <= 1 + rate * (window + 0.4) + beside, f"within {window} s"


def renders_since(renderer, seen: int) -> list:
    return renderer.renders()[seen:]


def twice(renders) -> dict:
    """Projects that were rendered more than once for a rollout."""
    counts = {}
    for call in renders:
        key = (call.project, call.request.rollout)
        counts[key] = counts.get(key, 0) + 1
    return {key: count for key, count in counts.items() if count > 1}


def test_a_fleet_renders_each_project_once_for_all_and_within_one_budget(renderer, store, start_fleet):
    fleet = start_fleet(store.url)
    join(fleet)
    hold_all(fleet)
    assert twice(renderer.renders()) == {}, "also what nobody held is rendered once"
    seen = len(renderer.renders())
    started = time.monotonic()
    release(fleet, 2)
    wait_until(lambda: is_fresh(fleet), within=IDEAL + 15)
    took = time.monotonic() - started
    renders = renders_since(renderer, seen)
    assert len(renders) <= 1.02 * len(PROJECTS) + 1, twice(renders)
    check_budget([call.at for call in renderer.renders()])
    assert took <= 1.05 * IDEAL + 8, "four times as quick as each for itself"
    for sidecar in fleet:
        assert sidecar.metric("pulls_total", result="stored") > 0
        assert served(sidecar.get(PROJECTS[0])) == "FRESH"
    # One that leaves is not waited for.
    fleet[0].signal(signal.SIGTERM)
    fleet[0].wait_for_exit(within=20)
    wait_until(lambda: all(sidecar.metric("fleet_sidecars", state="present") == SIDECARS - 1 for sidecar in fleet[1:]))
    assert fleet[1].metric("fleet_sidecars", state="absent") == 0
    assert fleet[1].metric("fleet_rate", which="in_force") == RATE


def test_a_store_that_forgets_everything_in_a_release_is_told_again(renderer, store, start_fleet):
    fleet = start_fleet(store.url)
    join(fleet)
    hold_all(fleet)
    seen = len(renderer.renders())
    release(fleet, 2)
    wait_until(lambda: len(renders_since(renderer, seen)) >= len(PROJECTS) / 3, within=20)
    assert store.ask("FLUSHALL") == "+OK"
    wait_until(lambda: is_fresh(fleet), within=IDEAL + 20)
    renders = renders_since(renderer, seen)
    # What was in flight may be rendered again.
    assert len(renders) <= 1.02 * len(PROJECTS) + 4, twice(renders)
    check_budget([call.at for call in renders])
    assert any("the fleet's store lost its state" in sidecar.log() for sidecar in fleet)


def test_without_its_store_each_sidecar_goes_on_with_its_part_and_comes_back_by_itself(renderer, store, start_fleet):
    fleet = start_fleet(store.url)
    join(fleet)
    hold_all(fleet)
    store.kill()
    wait_until(lambda: all_are(fleet, "lost"), within=5)
    seen = len(renderer.renders())
    release(fleet, 2)
    reasons = {reason(sidecar.get(PROJECTS[0], patience=0)) for sidecar in fleet}
    if all_are(fleet, "lost"):
        assert reasons == {"FLEET_UNREACHABLE"}
        assert renders_since(renderer, seen) == [], "nothing starts before what the store granted has started"
    wait_until(lambda: all_are(fleet, "apart"), within=10)
    for sidecar in fleet:
        assert "APART" in sidecar.http("/status")[1]
        assert sidecar.metric("limit", setting="rate") == RATE / SIDECARS
        assert served(sidecar.get(PROJECTS[0], patience=0)) in ("OUTDATED", "FRESH"), "it is answered all the while"
    wait_until(lambda: len(renders_since(renderer, seen)) > 8, within=20)
    store.start()
    wait_until(lambda: all_are(fleet, "joined"), within=20)
    wait_until(lambda: is_fresh(fleet), within=IDEAL + 20)
    check_budget([call.at for call in renders_since(renderer, seen)], beside=SIDECARS)
    assert all("joined the fleet" in sidecar.log() for sidecar in fleet)


def test_a_store_that_hangs_changes_nothing_for_lookups(renderer, black_hole, start_fleet):
    [sidecar] = start_fleet(black_hole, count=1, rate=500)
    # Nothing has been rendered, and by itself it has all of the rate.
    wait_until(lambda: mode(sidecar) == "apart", within=10)
    hold_all([sidecar])
    for project in PROJECTS:
        assert served(sidecar.get(project, patience=0)) == "FRESH"
    sidecar.release(2)
    sidecar.batch(PROJECTS, patience=0)
    wait_until(lambda: is_fresh([sidecar]), within=10)
    assert len(renderer.renders()) == 2 * len(PROJECTS)


def test_a_lookup_is_told_that_another_sidecar_renders_its_project(renderer, store, start_fleet):
    one, other = fleet = start_fleet(store.url, count=2)
    join(fleet)
    hold_all(fleet)
    renderer.stalls()
    project = PROJECTS[0]
    for sidecar in fleet:
        sidecar.release(2)
    seen = len(renderer.renders())
    one.get(project, patience=0)
    wait_until(lambda: len(renders_since(renderer, seen)) == 1)
    wait_until(lambda: reason(other.get(project, patience=0)) == "RENDERING_ELSEWHERE")
    assert other.metric("leases_total", result="elsewhere") > 0
    renderer.answers()
    # It has what the other rendered before it would ask for its own.
    wait_until(lambda: served(other.get(project, patience=0)) == "FRESH", within=5)
    assert len(renders_since(renderer, seen)) == 1


def test_the_user_of_the_readme_may_do_what_a_sidecar_does_and_no_more(renderer, store, start_fleet, tmp_path):
    [block] = re.findall(r"```text\n(user evenkeel on .*?)```", README.read_text(), re.DOTALL)
    assert store.ask("ACL SETUSER " + " ".join(block.split()[1:])) == "+OK"
    password = tmp_path / "password"
    password.write_text("PASSWORD\n")
    fleet = start_fleet(store.url, count=2, username="evenkeel", password_file=str(password))
    join(fleet)
    hold_all(fleet)
    release(fleet, 2)
    wait_until(lambda: is_fresh(fleet), within=IDEAL + 15)
    assert twice(renderer.renders()) == {}
    fleet[0].signal(signal.SIGTERM)
    fleet[0].wait_for_exit(within=20)
    wait_until(lambda: fleet[1].metric("fleet_sidecars", state="present") == 1)
    assert fleet[1].metric("store_calls_total", result="failed") == 0
    login = "AUTH evenkeel PASSWORD"
    for refused in ("SET {ek:default:identity}:o 1", "SET other 1", "GET other", "FLUSHALL", "KEYS *", "CONFIG GET *"):
        assert store.ask(login, refused).startswith("-NOPERM"), refused


def test_a_sidecar_that_hangs_gives_its_renders_to_others(renderer, store, start_fleet):
    one, other = fleet = start_fleet(store.url, count=2)
    join(fleet)
    hold_all(fleet)
    renderer.stalls()
    for sidecar in fleet:
        sidecar.release(2)
    seen = len(renderer.renders())
    one.get(PROJECTS[0], patience=0)
    wait_until(lambda: len(renders_since(renderer, seen)) == 1)
    os.kill(one.pid, signal.SIGKILL)
    renderer.answers()
    other.get(PROJECTS[0], patience=0)
    # The lease ends within 10 s.
    wait_until(lambda: served(other.get(PROJECTS[0], patience=0)) == "FRESH", within=15)
