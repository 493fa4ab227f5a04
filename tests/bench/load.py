"""One run of load against one server: how many requests per second, how much CPU for each, how long they took.

The numbers are raw: they mean nothing but beside those of another server in the same round.
"""

import http.client
import json
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servers import TARGET, Target

METHODS = "/evenkeel.v1.ConfigService/"
# Seconds after which a run counts as hung.
HUNG = 120

WRITES = ("write", "writev", "send", "sendto", "sendmsg", "sendmmsg", "sendfile")

FINISHED = re.compile(r"finished in \S+, ([\d.]+) req/s")
SUCCEEDED = re.compile(r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout")
DATA = re.compile(r"\((\d+)\) data")


@dataclass(frozen=True)
class Lookups:
    """What is asked, again and again: one message, or for HTTP/1.1 one path; and the least bytes of an answer."""

    message: bytes
    path: str
    least: int
    method: str = "GetConfig"


@dataclass(frozen=True)
class Shape:
    """How many connections ask for how much at once."""

    connections: int
    streams: int

    def __str__(self) -> str:
        return f"{self.connections} × {self.streams} at once"


BUSY = Shape(8, 16)
ALONE = Shape(1, 1)


def cpu(pid: int) -> float:
    """Seconds that the threads of a process have run."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def h2load(target: Target, lookups: Lookups, shape: Shape, count: int, *, log: Path | None = None) -> float:
    """Sends `count` requests over HTTP/2, or over HTTP/1.1 to a target that has no other; returns requests per second."""
    # Windows that no answer fills: 4 MiB and 16 MiB.
    command = ["h2load", "-t1", f"-c{shape.connections}", f"-m{shape.streams}", f"-n{count}", "-w22", "-W24"]
    if log:
        command.append(f"--log-file={log}")
    if target.unix:
        command.append(f"--base-uri=unix:{target.unix}")
    with tempfile.NamedTemporaryFile() as body:
        if target.http1:
            command += ["--h1", f"http://{target.address}/{lookups.path}"]
        else:
            body.write(b"\0" + len(lookups.message).to_bytes(4, "big") + lookups.message)
            body.flush()
            headers = ("content-type: application/grpc", "te: trailers")
            command += [f"-d{body.name}", *(f"-H{header}" for header in headers)]
            command.append(f"http://{target.address}{METHODS}{lookups.method}")
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=HUNG).stdout
    succeeded, data = SUCCEEDED.search(output), DATA.search(output)
    # A gRPC error is HTTP 200 too, but brings no data.
    if not succeeded or int(succeeded[1]) != count or int(data[1]) < count * lookups.least:
        raise RuntimeError(f"not every request to {target.name} was answered:\n{' '.join(command)}\n{output}")
    return float(FINISHED.search(output)[1])


class Runs:
    """Runs that take about as long as one another, each with a count of requests that was tried out before."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._counts: dict[tuple, int] = {}

    def busy(self, target: Target, lookups: Lookups) -> dict[str, float]:
        """Many at once: requests per second, and CPU seconds for each."""
        count = self._count(target, lookups, BUSY)
        before = cpu(target.pid)
        rate = h2load(target, lookups, BUSY, count)
        return {"rate": rate, "cpu": (cpu(target.pid) - before) / count}

    def alone(self, target: Target, lookups: Lookups) -> dict[str, float]:
        """One after another: the median and the 99th percentile of how long they took."""
        with tempfile.NamedTemporaryFile() as log:
            h2load(target, lookups, ALONE, self._count(target, lookups, ALONE), log=Path(log.name))
            took = [int(line.split(b"\t")[2]) for line in log.read().splitlines()]
        return {"p50": statistics.median(took) / 1e6, "p99": statistics.quantiles(took, n=100)[98] / 1e6}

    def _count(self, target: Target, lookups: Lookups, shape: Shape) -> int:
        key = (target, lookups, shape)
        if key not in self._counts:
            at_once = shape.connections * shape.streams
            count = at_once
            # Short runs tell more of connecting than of answering.
            while count < (rate := h2load(target, lookups, shape, count)) * self._seconds / 4:
                count *= 4
            self._counts[key] = max(count, round(rate * self._seconds / at_once) * at_once)
        return self._counts[key]


def writes(target: Target, lookups: Lookups, count: int) -> dict[str, float]:
    """System calls that write, for each request, many at once, as strace counts them."""
    with tempfile.NamedTemporaryFile("r") as table:
        command = ["strace", "-f", "-c", "-U", "calls,name", "-e", f"trace={','.join(WRITES)}", "-o", table.name, "-p", str(target.pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            attached = tracer.stderr.readline()
            if "attached" not in attached:
                raise RuntimeError(f"strace cannot attach to {target.name}: {attached}")
            h2load(target, lookups, BUSY, count)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
        lines = [line.split() for line in table.read().splitlines()]
    calls = sum(int(line[0]) for line in lines if len(line) == 2 and line[1] in WRITES)
    return {"writes": calls / count}


def callers(
    target: Target, prefix: str, projects: int, per_millisecond: int, seconds: float, meanwhile: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Lookups of many projects at a steady rate, without patience; `meanwhile` is called when they have gone on for a third of the time."""
    binary = TARGET / "bench/release/callers"
    command = [str(part) for part in (binary, target.address, prefix, projects, per_millisecond, seconds)]
    before = cpu(target.pid)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(seconds / 3)
        meanwhile()
        output, _ = process.communicate(timeout=HUNG)
    finally:
        process.kill()
    if process.returncode:
        raise RuntimeError(f"the callers ended with {process.returncode}")
    calls = json.loads(output)
    if calls["failed"]:
        raise RuntimeError(f"lookups failed: {output}")
    return {**calls, "cpu": (cpu(target.pid) - before) / calls["lookups"]}


def scrapes(target: Target, telemetry: str, count: int) -> float:
    """CPU seconds of one scrape, over one connection."""
    connection = http.client.HTTPConnection(telemetry, timeout=HUNG)
    before = cpu(target.pid)
    for _ in range(count):
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        if response.status != 200 or not response.read():
            raise RuntimeError(f"a scrape is answered {response.status}")
    connection.close()
    return (cpu(target.pid) - before) / count


def settle() -> None:
    """Lets what the last run left behind, closed connections above all, come to an end."""
    time.sleep(0.05)
