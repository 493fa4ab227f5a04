"""`evenkeel page` in a headless Chromium: what it says, how it looks, and that it lives.

EVENKEEL_SCREENSHOTS=.github has `test_pictures_of_the_page` make the pictures of deploy/README.md anew, which takes five minutes.
"""

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fleet import Fleet
from fleet import status as said
from node import node_with
from png import shrink
from sidecar import BINARY, wait_until
from test_night import Load, status

PROJECTS = [f"shop-{number}" for number in range(60)]

LOOKS = [(1280, False), (1280, True), (390, False), (390, True)]


class Page:
    """A running `evenkeel page`, or the demo that serves one."""

    def __init__(self, *addresses, listen="127.0.0.1:0"):
        command = [BINARY, "page", "--listen", listen, *addresses]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self._process.stdout.readline().removeprefix("page on ").strip()
        self.address = self.url.removeprefix("http://").rstrip("/")

    def stop(self, number=signal.SIGTERM):
        self._process.send_signal(number)
        return self._process.wait(10)


@pytest.fixture
def serve():
    """Starts pages."""
    with contextlib.ExitStack() as stack:

        def serve(*addresses, **options):
            page = Page(*addresses, **options)
            stack.callback(page.stop)
            return page

        yield serve


@pytest.fixture
def fleet():
    """Starts a fleet that says what it is told to."""
    with contextlib.ExitStack() as stack:

        def start(count, says):
            fleet = Fleet(count, says)
            stack.callback(fleet.stop)
            return fleet

        yield start


# What fleets say.


def fresh(number):
    return said(number, landed={"stored": 0}, renders_per_second=0.0)


def budget(number, done=0.6):
    """Waits for its budget, a part of it done."""
    part = min(1.0, max(0.0, done + 0.3 * ((number * 37 % 100) / 100 - 0.5)))
    outdated = round(20 * (1 - part))
    if not outdated:
        return said(number, landed={"stored": 0}, renders_per_second=0.0)
    return said(
        number,
        code="BUDGET",
        fresh=20 - outdated,
        outdated=outdated,
        wanted_outdated=outdated,
        lookups_outdated=round(2400 * (1 - part)),
        renders_per_second=0.19,
        in_flight=int(number % 5 == 0),
        done_in=outdated / 0.2,
        bound={"tokens": 0.93, "concurrency": 0.04},
    )


def overloaded(number, done=0.4):
    said = budget(number, done)
    said["code"] = "OVERLOADED"
    said["facts"].update(
        pushed_back=1,
        rate_in_force=0.05,
        renders_per_second=0.04,
        landed={"stored": 4, "exhausted": 9},
        bound={**said["facts"]["bound"], "hold": 0.71, "tokens": 0.2, "concurrency": 0.03},
    )
    said["facts"].pop("done_in", None)
    return said


def stragglers(number, done=0.97):
    """Nearly all is fresh, but for some that have other settings, another target or no connection; and one is silent."""
    if number in (17, 58):
        return said(number, code="UNREACHABLE", says="There is no connection to the renderer.", disconnected=1, fresh=2, outdated=18,
                    wanted_outdated=18, lookups_outdated=2100, renders_per_second=0.0, bound={"connection": 1.0})
    if number in (33, 34):
        return said(number, target=40, settings="77ab10c2ee01", raised=86_400)
    if number == 71:
        return None
    return budget(number, done + 0.15)


# Tests.


def axe():
    """The source of axe-core, installed when it is missing."""
    _, folder = node_with(Path(__file__).parent)
    return (folder / "axe-core/axe.min.js").read_text()


def overflow(tab):
    return tab.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize("says", [budget, overloaded, stragglers])
def test_it_looks_right_wide_and_narrow_light_and_dark_with_scripts_and_without(browser, serve, fleet, says, tmp_path):
    started = fleet(98, says)
    page = serve(*started.addresses)
    script = axe()
    # One fleet is looked at in every way, the others as they differ.
    ways = itertools.product(LOOKS, [True, False]) if says is stragglers else [(LOOKS[0], True), (LOOKS[3], True)]
    for (width, dark), javascript in ways:
        look = f"{says.__name__}-{width}-{'dark' if dark else 'light'}-{'live' if javascript else 'plain'}"
        with browser.tab(width=width, dark=dark, javascript=javascript) as tab:
            tab.open(page.url)
            if javascript:
                tab.wait("document.getElementById('live').dataset.state === 'live'")
            tab.screenshot(tmp_path / f"{look}.png")
            assert overflow(tab) <= 0, look
            assert tab.errors() == [], look
            assert tab.run("document.querySelectorAll('h1').length") == 1
            assert tab.run("[...document.querySelectorAll('.ladder')].filter(it => it.getClientRects().length).length") == 1
            if javascript:
                tab.run(script)
                found = tab.run("axe.run().then(found => found.violations)")
                assert [(it["id"], it["impact"], [node["html"] for node in it["nodes"]][:3]) for it in found] == [], look


@pytest.mark.parametrize("count", [0, 1, 12, 300])
def test_it_fits_however_many_sidecars_there_are(browser, serve, fleet, count):
    started = fleet(max(count, 1), budget if count else lambda _: None)
    page = serve(*started.addresses)
    with browser.tab(width=390) as tab:
        tab.open(page.url)
        assert overflow(tab) <= 0
        assert tab.errors() == []
        assert tab.text("#crumbs").split()[-1] == ("answered" if count != 1 else started.addresses[0])


def test_the_sentence_is_that_of_status_and_the_page_follows_it(browser, serve, start_sidecar):
    """Without a reload: the tab keeps what it had the focus on."""
    sidecar = start_sidecar(admission={"rate": 50})
    sidecar.batch(PROJECTS, patience=10)
    page = serve(sidecar.telemetry)
    with browser.tab() as tab, Load(sidecar, PROJECTS):
        tab.open(page.url)
        assert tab.text("h1") == status(sidecar)["says"]
        assert tab.text(".code") == "FRESH" and tab.run("document.title").startswith("FRESH")
        tab.run("window.mine = document.querySelector('h1')")
        sidecar.edit(admission={"rate": 2, "burst": 1})
        sidecar.signal(signal.SIGHUP)
        sidecar.release(2)
        tab.wait("document.querySelector('.code').textContent === 'BUDGET'")
        assert "The rate stops renders" in tab.text("h1") and "Done in about" in tab.text(".do")
        assert tab.run("document.title").startswith("BUDGET")
        assert tab.run("document.getElementById('icon').getAttribute('href')") == "/icon/wait.svg"
        assert tab.run("window.mine === document.querySelector('h1')"), "the element is the same"
        tab.wait("document.querySelectorAll('.wide .binds').length > 0")
        assert tab.text(".wide .name.binds") == "tokens"
        assert tab.errors() == []


def test_a_cell_leads_to_the_page_of_its_sidecar_and_back(browser, serve, fleet):
    started = fleet(40, stragglers)
    page = serve(*started.addresses)
    with browser.tab() as tab:
        tab.open(page.url)
        cell = ".cells a.differs"
        assert tab.run(f"document.querySelector('{cell}').title").endswith("10 % fresh, UNREACHABLE")
        path = tab.run(f"document.querySelector('{cell}').getAttribute('href')")
        tab.run(f"document.querySelector('{cell}').click()")
        tab.wait(f"location.pathname === {json.dumps(path)} && document.querySelector('h1') !== null")
        assert tab.text("h1") == "There is no connection to the renderer."
        assert tab.text(".code") == "UNREACHABLE"
        tab.run("document.querySelector('#crumbs a').click()")
        tab.wait("location.pathname === '/' && document.querySelector('.cells') !== null")
        assert tab.errors() == []


def test_it_says_when_it_is_old_and_lives_again(browser, serve, fleet):
    started = fleet(3, budget)
    page = serve(*started.addresses)
    with browser.tab() as tab:
        tab.open(page.url)
        live = "document.getElementById('live').dataset.state"
        tab.wait(f"{live} === 'live'")
        page.stop()
        # Ten seconds later.
        tab.run("{ const now = Date.now; Date.now = () => now() + 10000; }")
        tab.wait(f"{live} === 'stale'")
        assert "last heard" in tab.text("#live")
        serve(*started.addresses, listen=page.address)
        tab.wait(f"{live} === 'live'")


def test_sidecars_are_asked_only_while_someone_looks(browser, serve, fleet):
    started = fleet(2, fresh)
    page = serve(*started.addresses)
    with browser.tab() as one, browser.tab() as other:
        for tab in (one, other):
            tab.open(page.url)
        begun, before = time.monotonic(), started.asked
        one.wait("document.getElementById('live').dataset.state === 'live'")
        wait_until(lambda: started.asked >= before + 4)
        rounds = (started.asked - before) / 2
        assert rounds <= (time.monotonic() - begun) / 2 + 2, "once for both tabs"

    def is_quiet():
        before = started.asked
        time.sleep(2.5)
        return started.asked == before

    wait_until(is_quiet, within=10)


def test_it_says_what_cannot_be_served_and_ends_when_told(serve, fleet):
    page = serve(*fleet(1, fresh).addresses)
    again = subprocess.run([BINARY, "page", "--listen", page.address], capture_output=True, text=True, timeout=10)
    assert again.returncode == 1 and page.address in again.stderr, again.stderr
    for path, host, expected in (
        ("/", page.address, 200),
        ("/", "localhost:1", 200),
        ("/", "evil.example", 421),
        ("/else", page.address, 404),
    ):
        connection = http.client.HTTPConnection(page.address, timeout=5)
        connection.request("GET", path, headers={"host": host})
        answer = connection.getresponse()
        assert answer.status == expected, (path, host)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        connection.close()
    assert page.stop() == 0


# Pictures for people.


@pytest.mark.skipif("EVENKEEL_SCREENSHOTS" not in os.environ, reason="EVENKEEL_SCREENSHOTS names no folder for pictures")
@pytest.mark.parametrize(
    ("name", "says", "speed"),
    [("fresh", budget, 1.0), ("budget", budget, 0.3), ("overloaded", overloaded, 0.05), ("stragglers", stragglers, 0.5)],
)
def test_pictures_of_the_page(browser, serve, fleet, name, says, speed):
    """A release in a fleet of 98, seen for 45 s."""
    begun, lasts = time.monotonic(), 45.0

    def done(number):
        ago = time.monotonic() - begun
        told = says(number, done=min(1.2, 0.15 + speed * 1.5 * ago / lasts))
        if told:
            told["raised"] = min(told["raised"], round(ago)) if told["target"] == 41 else told["raised"]
        return told

    folder = Path(os.environ["EVENKEEL_SCREENSHOTS"])
    started = fleet(98, done)
    page = serve(*started.addresses)
    with browser.tab(width=1280) as tab:
        tab.open(page.url)
        time.sleep(lasts)
        picture = folder / f"page-{name}.png"
        tab.screenshot(picture)
        shrink(picture)
