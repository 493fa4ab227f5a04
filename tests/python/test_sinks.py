"""Those who are to take what a sidecar says of itself, and do not: it answers all the same."""

import contextlib
import fcntl
import os
import select
import socket
import threading

import grpc
import pytest

from contract import GetConfigRequest
from sidecar import Sidecar, served, wait_until

PROMPT = 1.0
"""How long a lookup from memory may take, in seconds: a machine that is busy forgives, a sidecar that is stuck does not."""


class Unheard(Sidecar):
    """A sidecar that logs all there is into a small pipe, which is read until `stop_listening`."""

    def __init__(self, folder, renderer_url):
        super().__init__(folder, renderer_url, log={"level": "trace"})
        self._is_heard = True
        self._listener, self._pipe = os.pipe()
        fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, 4096)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._filler = threading.Thread(target=self._fill, daemon=True)

    def open_log(self):
        return os.fdopen(os.dup(self._pipe), "w")

    def _listen(self):
        with self.log_file.open("ab") as log:
            while self._is_heard:
                log.write(os.read(self._listener, 4096))
                log.flush()

    def _fill(self):
        """Writes more than the pipe holds: the rest waits for a reader, or for the pipe's end."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, b"\n" * 3 * 4096)

    def stop_listening(self):
        self._is_heard = False
        self._filler.start()

    def is_stuck(self):
        """Whether the pipe is full, and has no reader."""
        return not self._thread.is_alive() and not select.select([], [self._pipe], [], 0)[1]

    def stop(self):
        super().stop()
        os.close(self._listener)
        if self._filler.ident:
            self._filler.join()
        os.close(self._pipe)


@pytest.fixture
def unheard(renderer, tmp_path):
    sidecar = Unheard(tmp_path, renderer.url)
    yield sidecar.start()
    sidecar.stop()
    print(sidecar.log())


class Scraper:
    """Asks for the metrics over and over, and reads nothing."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect((host, int(port)))
        self._socket.setblocking(False)

    def is_stuck(self):
        """Asks on, and tells whether the sidecar has stopped taking it."""
        request = b"GET /metrics HTTP/1.1\r\nhost: sidecar\r\n\r\n"
        try:
            while self._socket.send(request * 100):
                pass
        except BlockingIOError:
            return not select.select([], [self._socket], [], 0.2)[1]

    def close(self):
        self._socket.close()


def assert_it_answers(sidecar, renderer):
    """Lookups of what is fresh, of a release, and of what is outdated because renders fail; each at once."""
    for _ in range(500):
        assert served(sidecar.get("demo/shop", timeout=PROMPT)) == "FRESH"
    sidecar.release(2)
    assert served(sidecar.get("demo/shop", patience=5)) == "RENDERED"
    renderer.fails(grpc.StatusCode.INTERNAL)
    sidecar.release(3)
    for _ in range(500):
        assert served(sidecar.get("demo/shop", timeout=PROMPT)) == "OUTDATED"


def test_an_unread_log_delays_no_lookup(unheard, renderer):
    """open-policy-agent/opa#7492: a log sink that hangs stopped decisions."""
    unheard.get("demo/shop")
    unheard.stop_listening()
    wait_until(unheard.is_stuck)
    assert_it_answers(unheard, renderer)
    sampled = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    for _ in range(3000):  # each a line, of which some 1,000 wait for the log
        unheard.stub.GetConfig(GetConfigRequest(project="demo/shop"), metadata=sampled, timeout=PROMPT)
    assert unheard.metric("log_lines_dropped_total") > 1000


def test_scrapers_that_never_read_delay_no_lookup(sidecar, renderer):
    """open-policy-agent/opa#7492, of metrics."""
    sidecar.get("demo/shop")
    scrapers = [Scraper(sidecar.telemetry) for _ in range(8)]
    for scraper in scrapers:
        wait_until(scraper.is_stuck, within=20)
    assert_it_answers(sidecar, renderer)
    assert all(scraper.is_stuck() for scraper in scrapers)
    for scraper in scrapers:
        scraper.close()
