"""The real sidecar, started from the binary that EVENKEEL_BIN names, and a client of it that speaks plainly."""

import copy
import http.client
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from contract import (
    BatchGetConfigsRequest,
    ConfigServiceStub,
    GetConfigRequest,
    MinRevision,
    NotRefreshed,
    Served,
    WatchConfigRequest,
)

BINARY = Path(os.environ.get("EVENKEEL_BIN", Path(__file__).parents[2] / "target/ci/evenkeel"))

SAMPLE = re.compile(r"(?P<name>\w+)(\{(?P<labels>.*)\})? (?P<value>\S+)")
LABEL = re.compile(r'(\w+)="([^"]*)"')

LISTENS = re.compile(r"(lookups are answered|probes and metrics are served) address=(\S+)")

# How long a call may take before a test calls it hung.
HUNG = 20.0


def wait_until(condition, within: float = 5.0, every: float = 0.02):
    """Returns the first truthy value of `condition`, and fails when there is none within that many seconds."""
    end = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"not so within {within} s")
        time.sleep(every)


def duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    length = Duration()
    length.FromNanoseconds(round(seconds * 1e9))
    return length


def seconds(length: Duration) -> float:
    return length.ToNanoseconds() / 1e9


def served(answer) -> str:
    return Served.Name(answer.served).removeprefix("SERVED_")


def reason(answer) -> str:
    """Why an answer is not fresh; empty when it is."""
    if not answer.not_refreshed:
        return ""
    return NotRefreshed.Name(answer.not_refreshed).removeprefix("NOT_REFRESHED_")


@dataclass(frozen=True)
class Failed:
    """A status with its rich details."""

    code: str
    message: str
    reason: str
    domain: str
    retry_after: float | None
    pushback_ms: int | None
    violations: list[str]


def failure_of(call, *args, **kwargs) -> Failed:
    """Makes a call that has to fail."""
    with pytest.raises(grpc.RpcError) as caught:
        answer = call(*args, **kwargs)
        print(f"unexpectedly answered: {answer}")
    return read_failure(caught.value)


def read_failure(error: grpc.RpcError) -> Failed:
    info, retry, request = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    retry_after = None
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        detail.Unpack(info)
        detail.Unpack(request)
        if detail.Unpack(retry):
            retry_after = seconds(retry.retry_delay)
    pushback = dict(error.trailing_metadata() or ()).get("grpc-retry-pushback-ms")
    return Failed(
        code=error.code().name,
        message=error.details(),
        reason=info.reason,
        domain=info.domain,
        retry_after=retry_after,
        pushback_ms=None if pushback is None else int(pushback),
        violations=[violation.field for violation in request.field_violations],
    )


class Sidecar:
    """One sidecar process, with a folder for its settings and its log."""

    def __init__(self, folder: Path, renderer_url: str, nofile: tuple[int, int] | None = None, record=(), **settings):
        self.folder = folder
        self.record = record
        """Its flags for a record."""
        self.nofile = nofile
        """Its soft and hard limit of open files, unless they are those of the tests."""
        self.settings = {
            "rollout": 1,
            "component": "identity",
            "upstream": {"url": renderer_url, "deadline": "10s"},
            "lookup": {"listen": ["127.0.0.1:0"]},
            # As good as unlimited: a test that is about a limit sets it.
            "admission": {"rate": 1000, "burst": 1000, "concurrency": 16, "queue": 512},
            "telemetry": {"listen": "127.0.0.1:0"},
            "drain": {"grace": "5s"},
            "log": {"format": "text", "level": "debug"},
        }
        self._merge(settings)
        self.address: str | None = None
        self.telemetry: str | None = None
        self._process: subprocess.Popen | None = None
        self._channel: grpc.Channel | None = None

    # Settings.

    @property
    def settings_file(self) -> Path:
        return self.folder / "settings.yaml"

    @property
    def log_file(self) -> Path:
        return self.folder / "sidecar.log"

    def log(self) -> str:
        return self.log_file.read_text()

    def open_log(self):
        """Where a process of it writes its log."""
        return self.log_file.open("a")

    def edit(self, **settings) -> None:
        """Replaces the settings file by one in which these settings are changed."""
        self._merge(settings)
        self.write_settings(json.dumps(self.settings, indent=1))

    def write_settings(self, text: str) -> None:
        """Replaces the settings file as editors and deployments do: by a rename. JSON is YAML."""
        new = self.folder / "settings.new"
        new.write_text(text)
        new.replace(self.settings_file)

    def release(self, rollout: int) -> None:
        """Raises the target, and returns when the sidecar has learned of it, without a lookup."""
        self.edit(rollout=rollout)
        self.signal(signal.SIGHUP)
        wait_until(lambda: self.metric("target_rollout") == rollout)

    def _merge(self, settings: dict) -> None:
        for name, value in copy.deepcopy(settings).items():
            if isinstance(value, dict):
                self.settings.setdefault(name, {}).update(value)
            else:
                self.settings[name] = value

    # Life.

    def command(self) -> list:
        limited = ["prlimit", "--nofile={}:{}".format(*self.nofile)] if self.nofile else []
        return [*limited, BINARY, "serve", "--config", self.settings_file, *self.record]

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> "Sidecar":
        """Starts it, and waits until it is ready."""
        self.edit()
        with self.open_log() as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        wait_until(lambda: self.exit_code() is not None or self._has_started(), within=15)
        if self.exit_code() is not None:
            pytest.fail(f"the sidecar ended with {self.exit_code()}:\n{self.log()}")
        wait_until(self.is_ready, within=15)
        return self

    def _has_started(self) -> bool:
        """Learns where it listens: the settings leave the ports to the system, and it says which."""
        listens = dict(LISTENS.findall(self.log()))
        self.address = listens.get("lookups are answered")
        self.telemetry = listens.get("probes and metrics are served")
        return self.telemetry is not None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self) -> int | None:
        return self._process.poll()

    def wait_for_exit(self, within: float) -> int:
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {within} s")

    def stop(self) -> None:
        """Ends it without ado, whatever its state."""
        self.hang_up()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    # Telemetry.

    def http(self, path: str) -> tuple[int, str]:
        """Asks the telemetry listener; status 0 when nothing listens."""
        connection = http.client.HTTPConnection(self.telemetry, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def is_ready(self) -> bool:
        return self.http("/readyz")[0] == 200

    def metric(self, name: str, **labels: str) -> float:
        """Sums the samples of a metric, named without its prefix `evenkeel_`, that have these labels."""
        total = 0.0
        for line in self.http("/metrics")[1].splitlines():
            sample = SAMPLE.fullmatch(line)
            if sample and sample["name"] == f"evenkeel_{name}":
                found = dict(LABEL.findall(sample["labels"] or ""))
                if labels.items() <= found.items():
                    total += float(sample["value"])
        return total

    # Lookups.

    @property
    def channel(self) -> grpc.Channel:
        if self._channel is None:
            options = [
                ("grpc.enable_http_proxy", 0),
                ("grpc.enable_retries", 0),
                ("grpc.max_receive_message_length", 64 << 20),
                # Windows that do not grow: one who does not read is not read ahead for.
                ("grpc.http2.bdp_probe", 0),
            ]
            self._channel = grpc.insecure_channel(self.address, options=options)
        return self._channel

    @property
    def stub(self) -> ConfigServiceStub:
        return ConfigServiceStub(self.channel)

    def hang_up(self) -> None:
        """Closes the connection that the lookups of this test use."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def getting(self, project, *, patience):
        """Starts to look a project up."""
        request = GetConfigRequest(project=project, patience=duration(patience))
        return self.stub.GetConfig.future(request, timeout=HUNG)

    def get(self, project, *, patience=None, known_digest="", min_revision=None, max_outdated=None, timeout=HUNG):
        """Looks a project up; times are in seconds, `min_revision` is (rollout, number)."""
        request = GetConfigRequest(
            project=project,
            known_digest=known_digest,
            patience=duration(patience),
            min_revision=min_revision and MinRevision(rollout=min_revision[0], number=min_revision[1]),
            max_outdated=duration(max_outdated),
        )
        return self.stub.GetConfig(request, timeout=timeout)

    def batch(self, projects, *, patience=None):
        request = BatchGetConfigsRequest(projects=projects, patience=duration(patience))
        return list(self.stub.BatchGetConfigs(request, timeout=HUNG).results)

    def watch(self, project, *, known_digest="", timeout=2 * HUNG):
        """Watches a project; the iterator fails when no message comes within `timeout` seconds of the start."""
        request = WatchConfigRequest(project=project, known_digest=known_digest)
        return self.stub.WatchConfig(request, timeout=timeout)
