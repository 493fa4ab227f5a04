"""What `/status` and `evenkeel status` say while something is wrong: one situation a test, the real binary, and the action it names."""

import contextlib
import http.client
import http.server
import json
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from sidecar import BINARY, Sidecar, wait_until

PROJECTS = [f"shop-{number}" for number in range(60)]

OVER = {"FRESH", "RECOVERING"}


def status(sidecar):
    """What `/status` says as JSON."""
    connection = http.client.HTTPConnection(sidecar.telemetry, timeout=5)
    try:
        connection.request("GET", "/status", headers={"accept": "application/json"})
        response = connection.getresponse()
        assert response.headers["content-type"] == "application/json"
        body = response.read()
        assert len(body) <= 2048 and b"shop-" not in body, body
        return json.loads(body)
    finally:
        connection.close()


class Load:
    """Applications that look every project up all the time."""

    def __init__(self, sidecar, projects=PROJECTS):
        self._sidecar, self.projects = sidecar, list(projects)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_up, daemon=True)

    def _look_up(self):
        while not self._is_over.wait(0.1):
            for project in self.projects:
                with contextlib.suppress(grpc.RpcError):
                    self._sidecar.get(project, patience=0)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join()


@pytest.fixture
def loaded(start_sidecar):
    """Starts a sidecar that holds all projects fresh and is asked for them."""
    with contextlib.ExitStack() as stack:

        def start(**settings):
            sidecar = start_sidecar(**settings)
            sidecar.batch(PROJECTS, patience=10)
            assert status(sidecar)["code"] == "FRESH"
            return sidecar, stack.enter_context(Load(sidecar))

        yield start


def assert_says(sidecar, code, *, within=3.0):
    """The right code comes in time."""
    said = []

    def is_said():
        said.append(status(sidecar)["code"])
        return said[-1] == code

    end = time.monotonic() + within
    while not is_said():
        assert time.monotonic() < end, f"{said} and not {code} within {within} s:\n{sidecar.http('/status')[1]}"
        time.sleep(0.1)
    return status(sidecar)


def assert_is_over(sidecar):
    """20 s after the fault, all is fresh, or on its way without anything to do. Most of it takes less."""
    wait_until(lambda: status(sidecar)["code"] in OVER, within=20, every=0.1)


def rate(sidecar, rate):
    sidecar.edit(admission={"rate": rate})
    sidecar.signal(signal.SIGHUP)


def test_a_dead_renderer_is_unreachable(loaded, renderer):
    sidecar, _ = loaded(admission={"rate": 50})
    renderer.stop()
    sidecar.release(2)
    said = assert_says(sidecar, "UNREACHABLE")
    assert "upstream.url" in said["do"]
    renderer.start()
    assert_is_over(sidecar)


def test_a_renderer_that_is_behind_is_to_be_rolled_out(loaded, renderer):
    sidecar, _ = loaded(admission={"rate": 50})
    renderer.answers(rollouts_behind=1)
    sidecar.release(2)
    said = assert_says(sidecar, "BEHIND")
    assert "roll-out" in said["do"] and said["outdated_because"]
    renderer.answers()
    assert_is_over(sidecar)


def test_a_renderer_that_hangs_is_to_be_restarted(loaded, renderer):
    """Nothing said so for 30 s: the gate was `concurrency`, which advised to raise it."""
    sidecar, _ = loaded(upstream={"deadline": "30s"}, admission={"rate": 50, "concurrency": 4})
    renderer.stalls()
    sidecar.release(2)
    said = assert_says(sidecar, "HANGING", within=10)
    assert "restart" in said["do"]
    renderer.answers()
    assert_is_over(sidecar)


def test_a_rate_of_zero_is_to_be_set(loaded):
    sidecar, _ = loaded(admission={"rate": 50})
    rate(sidecar, 0)
    sidecar.release(2)
    said = assert_says(sidecar, "STOPPED")
    assert "`admission.rate`" in said["do"]
    rate(sidecar, 50)
    assert_is_over(sidecar)


def test_mistyped_names_are_the_callers(loaded, renderer):
    """Counted as outdated, they looked like a release that needs a higher rate."""
    sidecar, load = loaded(admission={"rate": 40, "burst": 5})
    typos = [f"typo-{number}" for number in range(25)]
    for typo in typos:
        renderer.knows_not(typo)
    load.projects.extend(typos)
    assert_says(sidecar, "UNKNOWN_NAMES")
    del load.projects[len(PROJECTS) :]
    assert_is_over(sidecar)


def test_a_budget_says_when_the_release_is_done(loaded):
    sidecar, _ = loaded(admission={"rate": 50})
    sidecar.edit(admission={"rate": 2, "burst": 1})
    sidecar.signal(signal.SIGHUP)
    sidecar.release(2)
    said = assert_says(sidecar, "BUDGET")
    assert "Done in about" in said["do"] and "raise `admission.rate`" in said["do"]
    rate(sidecar, 100)
    assert_is_over(sidecar)


# The command.


def evenkeel_status(*arguments, within=20):
    done = subprocess.run([BINARY, "status", *map(str, arguments)], capture_output=True, text=True, timeout=within)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def silent():
    """An address that takes connections and never answers."""

    class Never(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            leave.wait()

    leave = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Never)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    leave.set()
    server.shutdown()


def test_a_fleet_says_who_differs_and_who_is_silent(start_sidecar, silent):
    sidecars = [start_sidecar() for _ in range(4)]
    sidecars[3].release(2)
    addresses = [sidecar.telemetry for sidecar in sidecars]
    code, screen, _ = evenkeel_status(*addresses, silent)
    assert code == 0
    assert screen.startswith("4 of 5 sidecars answered\n"), screen
    assert f"silent   {silent}: no answer within 1s" in screen, screen
    assert "target   rollout 1 (3), rollout 2 (1)" in screen, screen
    assert f"({addresses[3]})" in screen and "  rollout 2; settings " in screen, screen
    assert not any(f"({address})" in screen for address in addresses[:3]), screen

    code, line, _ = evenkeel_status("--output", "json", *addresses, silent)
    fleet = json.loads(line)
    assert (code, fleet["asked"], len(fleet["sidecars"])) == (0, 5, 4)
    assert fleet["targets"] == {"1": 3, "2": 1} and sorted(fleet["settings"].values()) == [1, 3]


def test_the_gate_of_a_pipeline_opens_when_every_sidecar_has_released(start_sidecar, silent):
    sidecars = [start_sidecar() for _ in range(2)]
    for sidecar in sidecars:
        sidecar.get("shop")
    addresses = [sidecar.telemetry for sidecar in sidecars]
    wait = ["--wait", "--rollout", 2, "--within"]
    sidecars[0].release(2)
    # Just after a merge the old target is all fresh.
    code, screen, said = evenkeel_status(*addresses, *wait, "1s")
    assert code == 75 and "rollout 1 (1)" in screen and "rollout 2 is not released" in said, (screen, said)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(evenkeel_status, *addresses, *wait, "20s")
        sidecars[1].release(2)
        for sidecar in sidecars:
            sidecar.get("shop", patience=5)
        code, screen, said = waiting.result()
    assert (code, said) == (0, ""), (screen, said)
    assert evenkeel_status(*addresses, silent, *wait, "0s")[0] == 75
    assert evenkeel_status(silent, *wait, "0s")[0] == 69


def test_exit_codes_of_what_does_not_answer(silent):
    code, screen, _ = evenkeel_status(silent)
    assert code == 69 and screen == f"0 of 1 sidecars answered\nsilent   {silent}: no answer within 1s\n"
    code, screen, _ = evenkeel_status("no-such-host.invalid")
    assert code == 69 and "no-such-host.invalid" in screen, screen
    assert evenkeel_status("--wait")[0] == 2
    assert evenkeel_status("--rollout", "2")[0] == 2


def test_an_answer_that_is_too_large_or_no_status_is_refused(tmp_path):
    answers = [b"{" + b" " * 70_000 + b"}", b'{"schema":"else"}', b"\x1b[2Jno json"]

    class Nonsense(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[0])

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nonsense)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for words in ["larger than 64 KiB", "it is no status but `else`", "it is no status"]:
        code, screen, _ = evenkeel_status(f"127.0.0.1:{server.server_port}")
        assert code == 69 and words in screen and "\x1b" not in screen, screen
        answers.pop(0)
    server.shutdown()


def test_a_screen_of_one_sidecar_and_the_text_of_its_page_are_the_same(sidecar):
    code, screen, _ = evenkeel_status(sidecar.telemetry)
    assert code == 0 and "FRESH    All that is wanted is fresh" in screen, screen
    page = sidecar.http("/status")[1]
    assert screen.splitlines()[1:3] == page.splitlines()[1:3]
