"""The programs of deploy/examples: clients in four languages, and a renderer in forty lines of Python."""

import fcntl
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc_tools import protoc

import contract
from contract import RenderRequest, RenderServiceStub
from evenkeel.v1 import config_pb2, config_pb2_grpc
from node import node_with
from renderer import payload_of
from sidecar import BINARY, Sidecar, failure_of, reason, served

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy/examples"
# Where the examples find what `python -m grpc_tools.protoc` makes of proto/.
MODULES = Path(config_pb2.__file__).parents[2]
# The programs that protoc makes Go of.
GO_TOOLS = [
    "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.1",
]
# The languages whose gRPC retries.
RETRYING = ["python", "node", "go"]


@dataclass(frozen=True)
class Client:
    """The example of a language, and where it finds what it needs."""

    command: list
    environment: dict = field(default_factory=dict)

    def start(self, address: str, project: str) -> subprocess.Popen:
        environment = {**os.environ, "no_proxy": "*", **self.environment, "EVENKEEL_ADDRESS": address}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*self.command, project], env=environment, **pipes)

    def run(self, address: str, project: str) -> tuple[int, str, str]:
        """Its exit code, and what it said on stdout and stderr."""
        with self.start(address, project) as process:
            stdout, stderr = process.communicate(timeout=60)
        return process.returncode, stdout, stderr


def client_in(language: str) -> Client:
    match language:
        case "python":
            return Client([sys.executable, EXAMPLES / "lookup.py"], {"PYTHONPATH": str(MODULES)})
        case "node":
            node, modules = node_with(EXAMPLES)
            return Client([node, EXAMPLES / "lookup.cjs"], {"NODE_PATH": str(modules)})
        case "rust":
            return Client([BINARY.parent / "examples/lookup"])
        case "go":
            return Client([go_program()])


@functools.cache
def go_program() -> Path:
    """The example, compiled in `tests/.go`, by one worker at a time."""
    if not shutil.which("go"):
        pytest.skip("THE EXAMPLE IN GO IS NOT RUN: it needs Go 1.24 or later, as `go` in PATH")
    folder = ROOT / "tests/.go"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return compile_go(folder)


def compile_go(folder: Path) -> Path:
    """Makes the messages and stubs, then the program, and installs the tools that are missing."""
    tools = folder / "_".join(GO_TOOLS).replace("/", "-")
    environment = {**os.environ, "GOFLAGS": "-mod=readonly", "GO111MODULE": "on", "GOBIN": str(tools)}
    for tool in GO_TOOLS:
        if not (tools / re.search(r"([^/]+)@", tool)[1]).exists():
            subprocess.run(["go", "install", tool], env=environment, check=True, timeout=600)
    for name in ("lookup.go", "retry.json", "go.mod", "go.sum"):
        shutil.copy(EXAMPLES / name, folder)
    bundled = Path(protoc.__file__).parent / "_proto"
    files = sorted(contract.PROTO.rglob("*.proto"))
    arguments = [f"-I{contract.PROTO}", f"-I{bundled}", f"--go_out={folder}", f"--go-grpc_out={folder}", *files]
    path = os.pathsep.join([str(tools), environment["PATH"]])
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], env={**environment, "PATH": path}, check=True)
    program = folder / "lookup"
    subprocess.run(["go", "build", "-o", program, "."], cwd=folder, env=environment, check=True, timeout=600)
    return program


@pytest.fixture(params=["python", "node", "rust", "go"])
def client(request) -> Client:
    return client_in(request.param)


def test_a_client_prints_the_configuration_and_why_it_is_outdated(client, sidecar, renderer):
    assert client.run(sidecar.address, "demo/shop") == (0, payload_of("demo/shop", 1).decode() + "\n", "")
    renderer.stalls()
    sidecar.release(2)
    code, stdout, stderr = client.run(sidecar.address, "demo/shop")
    assert (code, stdout) == (0, payload_of("demo/shop", 1).decode() + "\n")
    assert re.fullmatch(r"outdated: NOT_REFRESHED_TIMED_OUT, retry after \d+\.\d s\n", stderr)


def test_a_client_takes_a_large_configuration(client, sidecar, renderer):
    renderer.answers(payload=b"x" * (15 << 20))
    code, stdout, stderr = client.run(sidecar.address, "demo/shop")
    assert (code, len(stdout), stderr) == (0, (15 << 20) + 1, "")


def test_a_client_connects_by_a_unix_socket(client, start_sidecar, tmp_path):
    socket = f"unix:{tmp_path}/lookup.sock"
    start_sidecar(lookup={"listen": [socket]})
    assert client.run(socket, "demo/shop") == (0, payload_of("demo/shop", 1).decode() + "\n", "")


class Scripted(config_pb2_grpc.ConfigServiceServicer):
    """Fails every call with the pushback given until none is left, then answers."""

    def __init__(self, *pushbacks: str):
        self.pushbacks = list(pushbacks)
        self.calls = 0

    def GetConfig(self, request, context):  # noqa: N802
        self.calls += 1
        if self.pushbacks:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", self.pushbacks.pop(0)),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to")
        return config_pb2.GetConfigResponse(payload=b"{}")


@pytest.fixture
def serve():
    servers = []

    def start(service) -> str:
        server = grpc.server(ThreadPoolExecutor(4))
        servers.append(server)
        config_pb2_grpc.add_ConfigServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(grace=None).wait(10)


@pytest.mark.parametrize("language", RETRYING)
def test_a_proxy_in_the_environment_is_not_asked_for_localhost(language, serve):
    # gRPC for C++, Python and Node.js takes http_proxy, and no_proxy seldom has 127.0.0.1.
    client = client_in(language)
    proxy = "http://127.0.0.1:1"
    proxies = {name: proxy for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    environment = {**client.environment, **proxies, "no_proxy": "", "NO_PROXY": "", "no_grpc_proxy": ""}
    assert Client(client.command, environment).run(serve(Scripted()), "demo/shop") == (0, "{}\n", "")


@pytest.mark.parametrize("language", RETRYING)
def test_the_service_config_retries_when_it_is_told_to(language, serve):
    service = Scripted("1", "1")
    assert client_in(language).run(serve(service), "demo/shop") == (0, "{}\n", "")
    assert service.calls == 3


@pytest.mark.parametrize("language", RETRYING)
def test_the_service_config_retries_nothing_that_is_of_no_use(language, serve):
    service = Scripted("-1", "-1")
    code, _, stderr = client_in(language).run(serve(service), "demo/shop")
    assert (code, service.calls) == (1, 1)
    assert "told to" in stderr


class ExampleRenderer:
    """The example in a process of its own, over a folder."""

    def __init__(self, folder: Path, rollout: int = 1, workers: int = 8):
        environment = {"PYTHONPATH": str(MODULES), "LISTEN": "127.0.0.1:0", "ROLLOUT": str(rollout), "WORKERS": str(workers)}
        command = [sys.executable, EXAMPLES / "renderer.py", folder]
        self._process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
        port = re.fullmatch(r"listening on port (\d+)\n", self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{port[1]}"

    def stop(self):
        self._process.kill()
        self._process.wait()


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "inputs"
    folder.mkdir()
    (folder / "paperboy.json").write_text('{"name": "The Paperboy"}')
    return folder


@pytest.fixture
def start_before(tmp_path, inputs):
    """Starts the example, and a sidecar before it."""
    started = []

    def start(**options) -> Sidecar:
        renderer = ExampleRenderer(inputs, **options)
        started.append(renderer)
        folder = tmp_path / f"sidecar-{len(started)}"
        folder.mkdir()
        sidecar = Sidecar(folder, renderer.url)
        started.append(sidecar)
        return sidecar.start()

    yield start
    for one in reversed(started):
        one.stop()


def test_the_renderer_renders_and_stores(start_before):
    sidecar = start_before()
    answer = sidecar.get("paperboy")
    assert (served(answer), answer.revision.rollout) == ("RENDERED", 1)
    assert json.loads(answer.payload) == {"rollout": 1, "name": "The Paperboy"}
    assert failure_of(sidecar.get, "nobody").reason == "PROJECT_NOT_FOUND"

    pod = Sidecar(sidecar.folder.parent / "inputs", sidecar.settings["upstream"]["url"]).start()
    try:
        assert pod.get("paperboy").payload == answer.payload
        assert pod.metric("renders_total") == 0, "it was fetched"
    finally:
        pod.stop()


def test_the_number_of_the_renderer_rises_when_a_file_is_restored_and_outlives_a_restart(inputs, tmp_path):
    # It was the time of the file, which a restore by `cp -p` sets back: what was restored was never served.
    source, backup = inputs / "paperboy.json", tmp_path / "backup.json"
    shutil.copy2(source, backup)

    def rendered():
        renderer = ExampleRenderer(inputs)
        try:
            with grpc.insecure_channel(renderer.url.removeprefix("http://"), [("grpc.enable_http_proxy", 0)]) as channel:
                answers = [RenderServiceStub(channel).Render(RenderRequest(project="paperboy", rollout=1), timeout=10) for _ in range(2)]
        finally:
            renderer.stop()
        assert answers[0].revision.number == answers[1].revision.number, "nothing changed in between"
        return answers[0].revision.number, json.loads(answers[0].payload)["name"]

    first, name = rendered()
    source.write_text('{"name": "wrong"}')
    second, wrong = rendered()
    shutil.copy2(backup, source)
    third, restored = rendered()
    assert first < second < third
    assert (wrong, restored) == ("wrong", name)


def test_the_renderer_says_what_it_is_when_it_is_behind(start_before):
    sidecar = start_before()
    sidecar.get("paperboy")
    sidecar.release(2)
    assert reason(sidecar.get("paperboy", patience=5)) == "RENDERER_BEHIND"


def test_the_renderer_pushes_back_what_is_too_much(start_before, inputs):
    # A render of this lasts until something is written into the pipe.
    os.mkfifo(inputs / "slow.json")
    sidecar = start_before(workers=1)
    slow = sidecar.getting("slow", patience=15)
    with (inputs / "slow.json").open("w") as pipe:
        assert failure_of(sidecar.get, "paperboy", patience=5).reason == "PUSHED_BACK"
        pipe.write('{"name": "slow"}')
    assert json.loads(slow.result().payload)["name"] == "slow"
