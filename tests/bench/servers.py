"""The servers that are measured, each started with the same answers on a free port and pinned to the first core.

Knows how to start and end them and how to ask for a configuration; knows nothing of load.
"""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/python"))

# Those that the other files use too are imported from here, where they can be found.
from contract import (  # noqa: E402
    BatchGetConfigsRequest,  # noqa: F401
    ConfigServiceStub,
    GetConfigRequest,
    GetConfigResponse,
    Served,
)
from sidecar import Sidecar, wait_until  # noqa: E402

REFERENCE = ROOT / "tests/bench/reference"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()

# The first two cores that may be used: one for the server under measurement, one for the callers.
CORES = sorted(os.sched_getaffinity(0))[:2]

# The projects, and how large their payloads are; from each are derived NAME-1, NAME-2 … up to DERIVED.
PROJECTS = {"1 KiB": ("bench-1k", 1 << 10), "16 KiB": ("bench-16k", 16 << 10), "256 KiB": ("bench-256k", 256 << 10)}
DERIVED = 200
SMALL = PROJECTS["1 KiB"][0]

TEMPLATE = '{"project":{{ project }},"rollout":{{ rollout }},"filler":{{ settings.filler }}}'
LISTENS = re.compile(r"renderer listening on ([^ ,]+),")
CONTROL = re.compile(r"renderer listening on .*control on ([^ ,]+),")


@dataclass(frozen=True)
class Target:
    """Where load is sent, and the process whose work is counted."""

    name: str
    pid: int
    address: str
    unix: Path | None = None
    http1: bool = False


def pinned(*command) -> list:
    return ["taskset", "-c", str(CORES[0]), *command]


def build(*options: str, profile: str, package: Path = ROOT) -> Path:
    """Builds a package and returns the folder of its binaries."""
    folder = TARGET if package == ROOT else TARGET / "bench"
    # Any protoc would do harm here: the build must not need one.
    environment = {**os.environ, "CARGO_TARGET_DIR": str(folder), "PROTOC": "/nonexistent"}
    command = ["cargo", "build", "--locked", "--quiet", "--profile", profile, *options]
    subprocess.run(command, cwd=package, env=environment, check=True)
    return folder / profile


class Process(AbstractContextManager):
    """A process with a log, ended when left."""

    def __init__(self, command: list, log: Path):
        self.log = log
        with log.open("a") as sink:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        self.pid = self._process.pid

    def says(self, pattern: re.Pattern) -> str:
        """Waits for a line of its log, and returns what the pattern's group found."""
        try:
            found = wait_until(lambda: pattern.search(self.log.read_text()) or self._process.poll() is not None, within=30)
        except BaseException:
            self.end()
            raise
        if found is True:
            raise RuntimeError(f"{self._process.args} ended with {self._process.returncode}:\n{self.log.read_text()}")
        return found[1]

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __exit__(self, *_):
        self.end()


class Renderer(Process):
    """The embedded renderer, whose payloads have exactly the sizes of PROJECTS."""

    def __init__(self, binary: Path, folder: Path, derived: int = DERIVED, cost: str = "0s"):
        folder.mkdir()
        template, projects = folder / "template.json.j2", folder.parent / "projects"
        template.write_text(TEMPLATE)
        if not projects.exists():
            # The same for all renderers beside one another, so that their revisions have the same number.
            projects.mkdir()
            for project, size in PROJECTS.values():
                empty = json.dumps({"project": project, "rollout": 1, "filler": ""}, separators=(",", ":"))
                (projects / f"{project}.yaml").write_text(f"filler: {'x' * (size - len(empty))}\n")
        options = {
            "--listen": "127.0.0.1:0",
            "--control": "127.0.0.1:0",
            "--projects": projects,
            "--template": template,
            "--generate": derived * len(PROJECTS),
            "--cost": cost,
        }
        # No caller waits for it here: it gives way to the callers on its core.
        command = ["nice", "-n", "19", binary, "renderer"]
        super().__init__([*command, *(str(part) for option in options.items() for part in option)], folder / "renderer.log")
        self.url = f"http://{self.says(LISTENS)}"
        self._control = self.says(CONTROL)

    def raise_rollout(self, rollout: int) -> None:
        """Has it render a higher rollout, as a release does before the sidecars learn of it."""
        urllib.request.urlopen(f"{self._control}/rollout", str(rollout).encode(), timeout=10).close()


class Evenkeel(Sidecar):
    """A sidecar under measurement."""

    def __init__(self, binary: Path, folder: Path, renderer: Renderer, name: str, prefix: tuple, **settings):
        self.renderer, self.name, self.unix = renderer, name, folder / "lookup.sock"
        self._binary, self._prefix = binary, prefix
        # The TCP listener comes last: its address is the one that is remembered.
        listen = {"listen": [f"unix:{self.unix}", "127.0.0.1:0"]}
        super().__init__(folder, renderer.url, lookup=listen, log={"level": "info"}, **settings)

    def command(self) -> list:
        return pinned(*self._prefix, self._binary, "serve", "--config", self.settings_file)

    @property
    def target(self) -> Target:
        return Target(self.name, self.pid, self.address)

    def holds(self, *projects: str) -> None:
        """Looks projects up, one after another, until each is held fresh."""
        for project in projects:
            wait_until(lambda: self._is_fresh(project), within=60)

    def look_up(self, projects: list[str], patience: float) -> int:
        """Looks projects up, a hundred with a call, and returns how many of them are fresh."""
        batches = (projects[start : start + 100] for start in range(0, len(projects), 100))
        results = (result for batch in batches for result in self.batch(batch, patience=patience))
        return sum(result.answer.served == Served.SERVED_FRESH for result in results)

    def limit(self, rate: float, **others) -> None:
        """Sets the rate of renders, and returns when it is in force."""
        self.edit(admission={"rate": rate, **others})
        self.signal(signal.SIGHUP)
        wait_until(lambda: self.metric("limit", setting="rate") == rate)

    def _is_fresh(self, project: str) -> bool:
        try:
            return self.get(project, patience=10).served == Served.SERVED_FRESH
        except grpc.RpcError:
            return False


@contextmanager
def evenkeel(
    binary: Path,
    folder: Path,
    name: str = "evenkeel",
    prefix: tuple = (),
    derived: int = DERIVED,
    cost: str = "0s",
    kind: type[Evenkeel] = Evenkeel,
    **settings,
) -> Iterator[Evenkeel]:
    """Starts a sidecar with a renderer of its own behind it; it holds one project of each size."""
    with Renderer(binary, folder, derived, cost) as renderer:
        sidecar = kind(binary, folder, renderer, name, prefix, **settings)
        try:
            sidecar.start()
            sidecar.holds(*(project for project, _ in PROJECTS.values()))
            yield sidecar
        finally:
            sidecar.stop()


class Reference(Process):
    """The tonic server, which answers as the files of a folder say."""

    def __init__(self, binaries: Path, answers: Path, log: Path, name: str, prefix: tuple = ()):
        super().__init__(pinned(*prefix, binaries / "reference", answers), log)
        self.target = Target(name, self.pid, self.says(re.compile(r"^(127\.0\.0\.1:\d+)$", re.MULTILINE)))


class Nginx(Process):
    """nginx as a caching HTTP/1.1 proxy of the same payloads, in one process."""

    CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000; default_type application/json;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    proxy_cache_path {folder}/cache keys_zone=held:1m;
    server {{ listen unix:{folder}/origin.sock; root {folder}/payloads; }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://unix:{folder}/origin.sock; proxy_cache held; proxy_cache_valid 1d;
            add_header X-Cache $upstream_cache_status;
        }}
    }}
}}
"""

    def __init__(self, payloads: dict[str, bytes], folder: Path):
        (folder / "payloads").mkdir(parents=True)
        for project, payload in payloads.items():
            (folder / "payloads" / project).write_bytes(payload)
        address = f"127.0.0.1:{_free_port()}"
        (folder / "nginx.conf").write_text(self.CONFIGURATION.format(folder=folder, address=address))
        super().__init__(pinned("nginx", "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"), folder / "log")
        self.target = Target("nginx", self.pid, address, http1=True)
        for project, payload in payloads.items():
            wait_until(lambda: self._is_held(project, payload), within=15)

    def _is_held(self, project: str, payload: bytes) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.target.address}/{project}", timeout=5) as answer:
                assert answer.read() == payload, f"nginx answers something else for {project}"
                return answer.headers["X-Cache"] == "HIT"
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def request(project: str, **fields) -> GetConfigRequest:
    """A lookup without patience."""
    request = GetConfigRequest(project=project, **fields)
    request.patience.SetInParent()
    return request


def ask(address: str, project: str) -> GetConfigResponse:
    """Looks a project up with grpcio."""
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options=options) as channel:
        return ConfigServiceStub(channel).GetConfig(request(project), timeout=20, wait_for_ready=True)


def check_answer(address: str, project: str, size: int) -> GetConfigResponse:
    """Looks a project up, and fails unless a fresh payload of that size and its digest come back."""
    answer = ask(address, project)
    digest = hashlib.sha256(answer.payload).hexdigest()
    found = (answer.revision.project, len(answer.payload), answer.revision.digest, answer.served)
    expected = (project, size, digest, Served.SERVED_FRESH)
    if found != expected:
        raise RuntimeError(f"{address} answers {found}, expected {expected}")
    return answer
