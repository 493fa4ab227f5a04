"""`evenkeel status`: fleets, the gate of a pipeline, exit codes. What it says while something is wrong: test_night.py."""

import http.server
import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sidecar import BINARY


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
