"""`evenkeel demo` as a command; what it measures is tested in Rust, and tests/long/demo runs it whole."""

import contextlib
import http.client
import json
import re
import signal
import subprocess
from xml.etree import ElementTree

import pytest

import browser as browsers
from sidecar import BINARY, wait_until


@pytest.fixture
def demo(tmp_path):
    """Starts it; what it says goes into files, which need no reader."""
    started = []

    def start(*arguments) -> subprocess.Popen:
        with (tmp_path / "printed").open("w") as printed, (tmp_path / "told").open("w") as told:
            started.append(subprocess.Popen([BINARY, "demo", *arguments], stdout=printed, stderr=told))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def printed(tmp_path):
    return (tmp_path / "printed").read_text


@pytest.fixture
def told(tmp_path):
    return (tmp_path / "told").read_text


@pytest.mark.long
def test_it_reports_draws_and_stays_until_it_is_told_to_end(demo, printed, told, tmp_path, request):
    picture = tmp_path / "storm.svg"
    running = demo("--quick", "--json", "--stay", "--svg", picture)
    # The last line of what it tells: a line may be read before all of it is written.
    wait_until(lambda: told().endswith("/metrics\n"), within=60)
    assert "until Ctrl-C" in told()
    (look_up,) = [line.split()[2:] for line in told().splitlines() if line.startswith("  look up ")]
    assert subprocess.run(look_up, capture_output=True, timeout=10).stderr.startswith(b"FRESH paperboy rollout 2 ")
    (page,) = [line.split()[2] for line in told().splitlines() if line.startswith("  look at ")]
    play(page.removeprefix("http://").rstrip("/"))
    if browsers.find():
        click(request.getfixturevalue("browser"), page)
    running.send_signal(signal.SIGTERM)
    code = running.wait(10)

    for way in ("the way of the incident", "with evenkeel"):
        assert re.search(rf"^{way}, \d+ s: \d+ lookups answered, \d+ failed; \d+ renders; \d+ of \d+ fresh$", told(), re.MULTILINE)
    (line,) = printed().splitlines()
    report = json.loads(line)
    # A machine that is busy with other tests may well break a promise.
    assert code == (0 if report["kept"] else 1)
    assert report["terms"].keys() >= {"pause_seconds", "cold_patience_seconds", "fetch_rate", "calm_seconds", "after_seconds"}
    for way in ("incident", "evenkeel"):
        assert report[way]["counted_seconds"] >= report["terms"]["after_seconds"]
        assert report[way]["lookups"]["answered"] > 0
    assert {promise["name"] for promise in report["promises"]} == {"answers", "patience", "reasons", "budget", "convergence"}
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def play(address):
    """Breaks and releases by the buttons of the page, as a browser without scripts does."""

    def ask(method, path="/", body=None, **headers):
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        with contextlib.closing(connection):
            return answer.status, answer.read().decode()

    def press(button, origin=f"http://{address}"):
        return ask("POST", "/press", f"press={button}", **({"origin": origin} if origin else {}))[0]

    def says(text):
        return lambda: text in ask("GET")[1]

    assert press("dead", origin="http://evil.example") == 403 and press("dead", origin=None) == 403
    assert press("nonsense") == 400
    assert press("dead") == 303
    assert says('value="dead" aria-pressed="true"')()
    assert press("release") == 303
    wait_until(says(">UNREACHABLE<"), within=15)
    answered = re.search(r"Rollout 3. In the last second (\d+) lookups were answered, and 0 failed", ask("GET")[1])
    assert int(answered[1]) > 0, "what is held is served on"
    assert press("well") == 303
    wait_until(says(">FRESH<"), within=30)


def click(browser, page):
    """Presses buttons on the page, which stays where it is."""
    with browser.tab() as tab:
        tab.open(page)
        tab.run("window.mine = true; document.querySelector('button[value=busy]').click()")
        tab.wait("document.querySelector('button[value=busy]').ariaPressed === 'true'")
        tab.run("document.querySelector('button[value=well]').click()")
        tab.wait("!document.querySelector('button[value=busy]').ariaPressed")
        assert tab.run("window.mine") and tab.errors() == []
        assert tab.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_interrupted(demo, printed, told, number):
    running = demo()
    wait_until(told)
    running.send_signal(number)
    assert running.wait(10) == 130
    assert printed() == ""
    assert told().endswith("evenkeel: interrupted\n")


def test_a_picture_that_cannot_be_written_is_refused_before_the_storms(demo, printed, told, tmp_path):
    picture = tmp_path / "nowhere/storm.svg"
    assert demo("--svg", picture).wait(10) == 1
    assert printed() == ""
    assert told() == f"evenkeel: cannot write --svg {picture}: No such file or directory (os error 2)\n"
