"""The connection to the renderer, as real servers and kernels treat it: ages, request limits, freezes."""

import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from renderer import Renderer
from sidecar import BINARY, Sidecar, served, wait_until


@pytest.fixture
def restarted(renderer):
    """Starts the renderer anew with options of the gRPC server."""

    def restart(*options) -> Renderer:
        renderer.stop()
        renderer.options = options
        renderer.start()
        return renderer

    return restart


def codes_of(sidecar: Sidecar, projects, *, rate: float, patience: float) -> list[str]:
    """Looks projects up at a steady rate, and returns how each lookup ended."""

    def look_up(project):
        try:
            return served(sidecar.get(project, patience=patience))
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"

    began = time.monotonic()
    with ThreadPoolExecutor(64) as pool:
        lookups = []
        for turn, project in enumerate(projects):
            time.sleep(max(0.0, began + turn / rate - time.monotonic()))
            lookups.append(pool.submit(look_up, project))
        return [lookup.result() for lookup in lookups]


def test_a_server_with_a_maximal_connection_age_fails_no_lookup(restarted, start_sidecar):
    """grpcio's `max_connection_age_ms`; grpc-java, Envoy and the balancers of clouds do the same with minutes."""
    restarted(("grpc.max_connection_age_ms", 500), ("grpc.max_connection_age_grace_ms", 5_000))
    sidecar = start_sidecar(log={"level": "info"})
    projects = [f"new-{number}" for number in range(150)]
    assert set(codes_of(sidecar, projects, rate=50, patience=2.0)) == {"RENDERED"}
    assert "unreachable" not in sidecar.log()
    assert sidecar.metric("degraded") == 0


NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests {requests};
    server {{
        listen 127.0.0.1:{port} http2;
        location / {{ grpc_pass grpc://127.0.0.1:{renderer}; }}
    }}
}}
"""


@pytest.fixture
def nginx(renderer, tmp_path):
    """Starts a real nginx in front of the renderer, which ends a connection after this many requests."""
    started = []

    def start(requests: int) -> str:
        command = shutil.which("nginx") or "/usr/sbin/nginx"
        if not os.access(command, os.X_OK):
            pytest.skip("nginx is missing: install the Debian package nginx-light")
        port = free_port()
        conf = tmp_path / "nginx.conf"
        conf.write_text(NGINX.format(folder=tmp_path, requests=requests, port=port, renderer=renderer.port))
        started.append(subprocess.Popen([command, "-e", tmp_path / "error.log", "-c", conf], stderr=subprocess.DEVNULL))
        wait_until((tmp_path / "nginx.pid").exists)
        return f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("requests", [100, 10])
def test_nginx_that_ends_connections_after_some_requests_costs_nothing(renderer, nginx, start_sidecar, requests):
    """nginx's `keepalive_requests`: 1,500 stored projects at 50/s took more than four times as long, or opened the breaker."""
    full = "TESTS_LONG" in os.environ
    count, rate, slack = (1_500, 50, 0) if full else (150, 50, 5)
    projects = [f"stored-{number}" for number in range(count)]
    renderer.stores(*projects, rollout=1)
    sidecar = start_sidecar(
        upstream={"url": nginx(requests), "fetch": {"rate": 1000}},
        log={"level": "info"},
    )
    began = time.monotonic()
    assert set(codes_of(sidecar, projects, rate=rate, patience=5.0)) == {"RENDERED"}
    assert time.monotonic() - began < 1.2 * count / rate + slack
    assert renderer.renders() == []
    assert "breaker" not in sidecar.log()


def test_a_frozen_sidecar_takes_what_was_answered_meanwhile(renderer, start_sidecar):
    """SIGSTOP, a paused node: all renders in flight timed out and the breaker opened, though they had been answered."""
    full = "TESTS_LONG" in os.environ
    deadline, frozen = (10, 15) if full else (1, 2)
    sidecar = start_sidecar(upstream={"deadline": f"{deadline}s"}, log={"level": "info"})
    renderer.stalls()
    with ThreadPoolExecutor(8) as pool:
        lookups = [pool.submit(sidecar.get, f"shop-{number}", patience=20.0) for number in range(8)]
        wait_until(lambda: len(renderer.renders()) == 8)
        sidecar.signal(signal.SIGSTOP)
        renderer.answers()
        time.sleep(frozen)
        sidecar.signal(signal.SIGCONT)
        assert {served(lookup.result()) for lookup in lookups} == {"RENDERED"}
    assert sidecar.metric("renders_total", result="deadline_exceeded") == 0
    assert "breaker" not in sidecar.log()


@pytest.mark.parametrize("streams", [1, 2, 5])
def test_a_server_of_few_streams_answers_every_lookup_and_tells_of_changes(restarted, start_sidecar, streams):
    """`SETTINGS_MAX_CONCURRENT_STREAMS` 1: the stream of changes held the only stream, and no lookup was answered."""
    renderer = restarted(("grpc.max_concurrent_streams", streams))
    sidecar = start_sidecar()
    wait_until(renderer.is_listened_to)
    projects = [f"shop-{number}" for number in range(5)]
    assert codes_of(sidecar, projects, rate=1_000, patience=5.0) == ["RENDERED"] * 5
    renderer.changes("shop-0", rollout=1, number=2)
    renderer.answers(number=2)
    wait_until(lambda: sidecar.get("shop-0", patience=1.0).revision.number == 2)
    assert sidecar.metric("degraded") == 0


def test_a_server_that_compresses_is_understood(restarted, start_sidecar):
    """A renderer with `compression=Gzip` "did not implement the method"."""
    gzip = 2
    renderer = restarted(("grpc.default_compression_algorithm", gzip))
    payload = json.dumps({"filler": "x" * 100_000}).encode()
    renderer.answers(payload=payload)
    answer = start_sidecar().get("shop", patience=5.0)
    assert answer.payload == payload


def test_a_stack_trace_in_a_status_is_the_failure_of_its_project(renderer, start_sidecar):
    """20 KB broke the stream, counted as an outage and opened the breaker for all."""
    renderer.fails(grpc.StatusCode.NOT_FOUND, "Traceback: " + "x" * 20_000)
    sidecar = start_sidecar()
    for number in range(10):
        with pytest.raises(grpc.RpcError) as failed:
            sidecar.get(f"shop-{number}", patience=5.0)
        assert failed.value.code() == grpc.StatusCode.NOT_FOUND
    renderer.answers()
    assert served(sidecar.get("another", patience=5.0)) == "RENDERED"


def test_a_web_server_is_named_in_one_line(tmp_path):
    """The port of something else in `upstream.url`: the log said "the HTTP/2 handshake failed"."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        sidecar = Sidecar(tmp_path, f"http://127.0.0.1:{port}", start={"grace": "0s"}, log={"level": "info"})
        try:
            sidecar.start()
            line = wait_until(lambda: next((line for line in sidecar.log().splitlines() if "unreachable" in line), None))
        finally:
            sidecar.stop()
            server.shutdown()
    assert f"the renderer at http://127.0.0.1:{port} answers" in line
    assert line.rstrip('"').endswith("not HTTP/2")


class Balancer:
    """A balancer of TCP connections: it sends the first one to the first server, all later ones to the second."""

    def __init__(self, first: int, later: int):
        self._ports = [first, later]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            port = self._ports.pop(0) if len(self._ports) > 1 else self._ports[0]
            server = socket.create_connection(("127.0.0.1", port))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket):
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self._listener.close()


def test_a_connection_pinned_to_a_replica_that_is_behind_is_replaced(renderer, start_sidecar):
    """A balancer of TCP connections and two replicas: all was RENDERER_BEHIND until the connection was 8 to 12 minutes old."""
    behind = Renderer()
    behind.start()
    behind.answers(rollouts_behind=1)
    balancer = Balancer(behind.port, renderer.port)
    try:
        sidecar = start_sidecar(rollout=2, upstream={"url": balancer.url})
        projects = [f"shop-{number}" for number in range(4)]
        codes_of(sidecar, projects, rate=1_000, patience=1.0)
        assert behind.renders() and not renderer.renders()
        wait_until(lambda: all(sidecar.get(project, patience=1.0).revision.rollout == 2 for project in projects), within=30)
        assert "unreachable" not in sidecar.log()
    finally:
        balancer.close()
        behind.stop()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def namespace():
    """A network namespace of its own at 198.18.0.2, joined to ours by a link; what runs in it is started by `ip netns exec`."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and the Debian package iproute2, to set a link down between two network namespaces")
    name = f"evenkeel-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("link", "add", "evenkeel0", "type", "veth", "peer", "name", "evenkeel1", "netns", name)
    except subprocess.CalledProcessError as error:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
        pytest.skip(f"network namespaces are not allowed here: {error.stderr.decode().strip()}")
    try:
        ip("address", "add", "198.18.0.1/30", "dev", "evenkeel0")
        ip("link", "set", "evenkeel0", "up")
        ip("-n", name, "address", "add", "198.18.0.2/30", "dev", "evenkeel1")
        ip("-n", name, "link", "set", "evenkeel1", "up")
        yield name
    finally:
        # The kernel removes a namespace and its devices a moment later; the link is gone at once.
        ip("link", "del", "evenkeel0")
        ip("netns", "del", name)


@pytest.mark.parametrize(
    "has_ipv6, addresses", [(True, "127.0.0.1:7070 and [::1]:7070"), (False, "127.0.0.1:7070")], ids=["both families", "IPv4 alone"]
)
def test_the_embedded_renderer_is_reached_by_localhost(namespace, has_ipv6, addresses):
    """It listened on 127.0.0.1 alone, and a client that takes `localhost` for ::1 was refused."""
    switch = f"echo {int(not has_ipv6)} > /proc/sys/net/ipv6/conf/all/disable_ipv6"
    script = f"{switch}; ip link set lo up; exec {BINARY} renderer"
    command = ["ip", "netns", "exec", namespace, "sh", "-c", script]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as renderer:
        line = next((line for line in renderer.stdout if "renderer listening on" in line), "")
        renderer.terminate()
    assert line.startswith(f"renderer listening on {addresses}, ")


@pytest.mark.skipif("TESTS_LONG" not in os.environ, reason="takes a minute: tests/long/connections runs it")
def test_a_connection_that_the_network_swallows_is_noticed_within_a_minute(namespace, start_sidecar):
    """Nothing is sent, nothing is refused: only the kernel's keepalive can tell. An input that changed was FRESH for ten minutes."""
    command = ["ip", "netns", "exec", namespace, BINARY, "renderer", "--listen", "198.18.0.2:7070"]
    renderer = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        sidecar = start_sidecar(upstream={"url": "http://198.18.0.2:7070"})
        wait_until(lambda: sidecar.metric("degraded") == 0, within=15)
        # What was sent last is acknowledged: the connection is idle.
        time.sleep(2)
        ip("-n", namespace, "link", "set", "evenkeel1", "down")
        wait_until(lambda: sidecar.metric("degraded") == 1, within=60)
        ip("-n", namespace, "link", "set", "evenkeel1", "up")
        wait_until(lambda: sidecar.metric("degraded") == 0, within=60)
    finally:
        renderer.kill()
        renderer.wait()
