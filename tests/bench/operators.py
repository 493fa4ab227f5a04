"""What operators may do to a sidecar all at once: 16 clients that ask for its status, 8 open pages, a log that is not read, and a
collector of traces that hangs."""

import http.client
import os
import re
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc

from load import ALONE, HUNG, Lookups, h2load
from servers import SMALL, ConfigServiceStub, Evenkeel, GetConfigRequest, evenkeel, wait_until

CLIENTS, PAGES = 16, 8

# How often each client asks, in seconds: twice as often as `evenkeel status --watch`.
EVERY = 1.0

# How many projects nothing is held of at first, and how many of them are looked up in a second.
MISSING, EACH_SECOND = 2_000, 10

# A trace that its caller sampled, so that its flights have spans.
SAMPLED = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]

# Lookups of which callgrind counts the instructions: what starting and ending cost cancels out.
FEW, MANY = 500, 3_000

PAGE = re.compile(r"page on http://(\S+)/")
TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


class HungCollector:
    """Completes handshakes, and neither reads nor answers."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self._listener.getsockname())

    def is_called(self) -> bool:
        return bool(select.select([self._listener], [], [], 0)[0])


class Watched(Evenkeel):
    """A sidecar that logs everything, into a pipe that may stay unread."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.settings["log"]["level"] = "debug"
        self._missing = iter(range(1, MISSING))

    def open_log(self):
        self._is_heard = True
        self._listener, self._pipe = os.pipe()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        return os.fdopen(os.dup(self._pipe), "w")

    def _listen(self) -> None:
        with self.log_file.open("ab") as log:
            while line := os.read(self._listener, 1 << 16):
                log.write(line)
                log.flush()
                if not self._is_heard:
                    return

    def stop_listening(self) -> None:
        """Fills the pipe, by a description of its own: the sidecar's goes on to block."""
        self._is_heard = False
        os.write(self._pipe, b"\n")
        self._reader.join()
        pipe = os.open(f"/proc/self/fd/{self._pipe}", os.O_WRONLY | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            while True:
                os.write(pipe, b"\n" * 512)
        os.close(pipe)
        if select.select([], [self._pipe], [], 0)[1]:
            raise RuntimeError("the pipe of the log is not full")

    def causes_flight(self) -> None:
        """Looks up a project that nothing is held of: a fetch and a render, each with a span."""
        request = GetConfigRequest(project=f"{SMALL}-{next(self._missing)}")
        with suppress(grpc.RpcError):
            ConfigServiceStub(self.channel).GetConfig(request, metadata=SAMPLED, timeout=HUNG)


@contextmanager
def watched(binary: Path, folder: Path, name: str, collector: HungCollector | None = None, prefix: tuple = ()) -> Iterator[Watched]:
    """Starts a sidecar, which sends spans to that collector."""
    otlp = {"otlp": {"endpoint": collector.url}} if collector else {}
    grace = {"drain": {"grace": "0s"}}
    with evenkeel(binary, folder, name, prefix, derived=MISSING, kind=Watched, **otlp, **grace) as sidecar:
        yield sidecar


def has_export(binary: Path, folder: Path) -> bool:
    """Whether it is a build with the feature `otlp`."""
    settings = folder / "otlp.yaml"
    settings.write_text("otlp: {endpoint: 'http://127.0.0.1:4317'}\n")
    return subprocess.run([binary, "check", settings], capture_output=True).returncode == 0


def leave_unheard(sidecar: Watched, collector: HungCollector | None) -> None:
    """Has its collector hang, and its log full."""
    if collector:
        sidecar.causes_flight()
        wait_until(collector.is_called, within=30)
    sidecar.stop_listening()


class _Repeated:
    """Does something again and again in the background, until left; what fails there fails when it is left."""

    def __init__(self, every: float):
        self._every, self._stop, self._failure = every, threading.Event(), None
        self.times = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while True:
                self.once()
                self.times += 1
                if self._stop.wait(self._every):
                    return
        except Exception as failure:  # noqa: BLE001
            self._failure = failure

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join(HUNG)
        if self._failure:
            raise self._failure
        if not self.times:
            raise RuntimeError(f"{type(self).__name__} did nothing")


class Flights(_Repeated):
    """Lookups that cause sampled flights."""

    def __init__(self, sidecar: Watched):
        super().__init__(1 / EACH_SECOND)
        self.once = sidecar.causes_flight


class StatusClients(_Repeated):
    """Clients that all ask for the status at once, each over a connection of its own."""

    def __init__(self, sidecar: Watched):
        super().__init__(EVERY)
        self._connections = [http.client.HTTPConnection(sidecar.telemetry, timeout=HUNG) for _ in range(CLIENTS)]

    def once(self) -> None:
        for connection in self._connections:
            connection.request("GET", "/status", headers={"accept": "application/json"})
        for connection in self._connections:
            response = connection.getresponse()
            if response.status != 200 or b"evenkeel.status/1" not in response.read():
                raise RuntimeError(f"a status is answered {response.status}")

    def __exit__(self, *failed) -> None:
        super().__exit__(*failed)
        for connection in self._connections:
            connection.close()


class Pages(_Repeated):
    """Pages of one `evenkeel page`, all live."""

    def __init__(self, binary: Path, sidecar: Watched):
        super().__init__(0)
        command = ["nice", "-n", "19", binary, "page", "--listen", "127.0.0.1:0", sidecar.telemetry]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        address = PAGE.match(self._process.stdout.readline())[1]
        host, port = address.rsplit(":", 1)
        self._pages = [socket.create_connection((host, int(port)), HUNG) for _ in range(PAGES)]
        for page in self._pages:
            page.sendall(f"GET /events HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n".encode())
        for page in self._pages:
            if not page.recv(1 << 16).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("a page is not live")

    def once(self) -> None:
        for page in select.select(self._pages, [], [], 0.1)[0]:
            if not page.recv(1 << 16):
                raise RuntimeError("a page is no longer live")

    def __exit__(self, *failed) -> None:
        super().__exit__(*failed)
        for page in self._pages:
            page.close()
        self._process.terminate()
        self._process.wait()


@contextmanager
def busy(binary: Path, sidecar: Watched) -> Iterator[None]:
    """Operators look at it."""
    with ExitStack() as stack:
        stack.enter_context(Pages(binary, sidecar))
        stack.enter_context(StatusClients(sidecar))
        yield


def instructions(binary: Path, folder: Path, lookups: Lookups, *, is_busy: bool, has_collector: bool) -> float:
    """Instructions of one lookup in the thread that answers it, calm or with operators."""
    folder.mkdir()
    few, many = (_counted(binary, folder / str(count), lookups, count, is_busy, has_collector) for count in (FEW, MANY))
    # Each thread does about the same in both, but the one that answers lookups, which answers more of them.
    return max(many[thread] - few.get(thread, 0) for thread in many) / (MANY - FEW)


def _counted(binary: Path, folder: Path, lookups: Lookups, count: int, is_busy: bool, has_collector: bool) -> dict[str, int]:
    """Instructions of each thread of a sidecar that answered that many lookups."""
    collector = HungCollector() if is_busy and has_collector else None
    counted = folder / "counted"
    valgrind = ("valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={counted}", "--quiet")
    with watched(binary, folder, "instructions", collector, valgrind) as sidecar:
        with ExitStack() as stack:
            if is_busy:
                leave_unheard(sidecar, collector)
                stack.enter_context(busy(binary, sidecar))
            h2load(sidecar.target, lookups, ALONE, count)
        sidecar.hang_up()
        sidecar.signal(signal.SIGTERM)
        sidecar.wait_for_exit(within=60)
    totals = {thread.name: TOTALS.search(thread.read_text()) for thread in folder.glob("counted-*")}
    return {thread: int(total[1]) for thread, total in totals.items() if total}
