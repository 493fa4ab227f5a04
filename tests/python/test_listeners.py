"""What careless or hostile callers may cost: memory, descriptors, time. The sidecar may take no more than its cache and 64 MiB, and
it has to serve all other clients meanwhile. EVENKEEL_HOSTILE=full is the size of tests/long/hostile."""

import os
import resource
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from contract import BatchGetConfigsRequest, ConfigServiceStub, GetConfigRequest, WatchConfigRequest
from peer import (
    BATCH,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    HEADERS,
    HEALTH_WATCH,
    MOST_FRAME,
    MOST_WINDOW,
    RST_STREAM,
    WATCH,
    Peer,
    block,
    frame,
    message,
    window_update,
)
from sidecar import failure_of, served, wait_until
from test_memory import MIB, resident

FULL = os.environ.get("EVENKEEL_HOSTILE") == "full"
SMALL_CACHE = {"max_bytes": "64MiB"}
BOUND = 128 * MIB
"""The cache, and 64 MiB."""


@pytest.fixture
def guarded(start_sidecar):
    """A sidecar with the cache of the manifest."""
    return start_sidecar(cache=SMALL_CACHE, log={"level": "info"})


def is_served(sidecar, project="demo/shop") -> bool:
    """Whether another client gets an answer, over a connection of its own."""
    sidecar.hang_up()
    return bool(sidecar.get(project, patience=5, timeout=10).payload)


def peak(sidecar) -> int:
    """The most bytes that the process ever had in memory."""
    status = Path(f"/proc/{sidecar.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))


def connect(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=5)


# The port of probes and scrapers, which is open to the cluster.


def test_unfinished_headers_on_the_telemetry_port_cost_little(guarded):
    """300 connections of 390 kB of headers each took 117 MiB for as long as their callers liked."""
    before = resident(guarded)
    with ExitStack() as open_sockets:
        for _ in range(300):
            caller = open_sockets.enter_context(connect(guarded.telemetry))
            try:
                caller.sendall(b"GET /metrics HTTP/1.1\r\nx: " + b"x" * 390_000)
            except OSError:
                pass  # It was told that this is too much.
        assert guarded.is_ready()
        assert is_served(guarded)
        assert resident(guarded) - before < 16 * MIB
        assert guarded.metric("ready") == 1


def test_a_head_of_more_than_16_kib_is_refused(guarded):
    with connect(guarded.telemetry) as caller:
        caller.sendall(b"GET /livez HTTP/1.1\r\nx: " + b"x" * 17_000 + b"\r\n\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 431")
    with connect(guarded.telemetry) as caller:
        caller.sendall(b"GET /livez HTTP/1.1\r\nx: " + b"x" * 15_000 + b"\r\n\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 200")


def test_the_telemetry_port_speaks_http_1_only(guarded):
    with Peer(guarded.telemetry) as peer:
        peer.call("/metrics")
        wait_until(lambda: not peer.is_open())
        assert peer.came[HEADERS] == 0


@pytest.mark.parametrize("port", ["telemetry", "address"])
def test_idle_connections_leave_descriptors_to_lookups_probes_settings_and_the_renderer(start_sidecar, renderer, port):
    """300 idle connections at 256 descriptors: new lookups hung, probes timed out, the renderer was not dialled."""
    sidecar = start_sidecar(nofile=(256, 256))
    address = getattr(sidecar, port)
    with ExitStack() as open_sockets:
        for _ in range(300):
            open_sockets.enter_context(connect(address))
        assert sidecar.is_ready()
        assert is_served(sidecar)
        renderer.stop()
        renderer.start()
        wait_until(lambda: is_served(sidecar, f"new/{time.monotonic()}"), within=15)
        sidecar.edit(admission={"burst": 77})
        wait_until(lambda: sidecar.metric("limit", setting="burst") == 77)
        assert "cannot accept" not in sidecar.log()


def test_a_probe_that_keeps_its_connection_outlives_idle_ones(start_sidecar):
    sidecar = start_sidecar(nofile=(256, 256))
    request = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"
    with ExitStack() as open_sockets, connect(sidecar.telemetry) as probe:
        for _ in range(200):
            open_sockets.enter_context(connect(sidecar.telemetry))
            probe.sendall(request)
            assert b"alive" in probe.recv(1000)


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one(start_sidecar):
    sidecar = start_sidecar(nofile=(128, 1024))
    limits = Path(f"/proc/{sidecar.pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == ["1024", "1024"]


def test_want_of_descriptors_is_said_once_and_counted_and_its_end_is_said(start_sidecar):
    """It was 20 lines a second under churn, and none for the telemetry port."""
    sidecar = start_sidecar()
    ours = len(list(Path(f"/proc/{sidecar.pid}/fd").iterdir()))
    soft, hard = resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE)
    with ExitStack() as open_sockets:
        resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE, (ours + 4, hard))
        held = [open_sockets.enter_context(connect(sidecar.address)) for _ in range(8)]
        wait_until(lambda: "cannot accept connections" in sidecar.log())
        for at in range(30):
            # One goes and one comes: now and then there is a descriptor.
            held[at % 8].close()
            held[at % 8] = open_sockets.enter_context(connect([sidecar.address, sidecar.telemetry][at % 2]))
            time.sleep(0.05)
    resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE, (soft, hard))
    wait_until(lambda: sidecar.is_ready() and "accepting connections again" in sidecar.log(), within=20)
    assert sidecar.log().count("cannot accept connections") == 1
    assert sidecar.log().count("accepting connections again") == 1
    assert sidecar.metric("accept_errors_total", listener="lookup") >= 1


def cpu_of(sidecar, thread: str) -> int:
    """The clock ticks that a thread took; the main thread is `evenkeel`."""
    for task in Path(f"/proc/{sidecar.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == thread:
            times = (task / "stat").read_text().rsplit(")", 1)[1].split()
            return int(times[11]) + int(times[12])
    return 0


def test_scrapes_take_no_time_from_renders(start_sidecar):
    """Pages were made on the runtime of flights: four scrapers of 20,000 projects held renders up by 39 ms."""
    sidecar = start_sidecar(log={"level": "info"})
    for at in range(200 if FULL else 3):
        sidecar.batch([f"demo/{at}-{n}" for n in range(100)], patience=20)
    main, telemetry = cpu_of(sidecar, "evenkeel"), cpu_of(sidecar, "telemetry")
    began = time.monotonic()
    with ThreadPoolExecutor(4) as scrapers:
        while cpu_of(sidecar, "telemetry") - telemetry < 20 and time.monotonic() - began < 20:
            list(scrapers.map(lambda _: sidecar.http("/metrics"), range(40)))
    assert cpu_of(sidecar, "telemetry") - telemetry >= 20
    assert cpu_of(sidecar, "evenkeel") - main <= 5


# The port of lookups.


def test_large_frames_are_not_gathered_for_those_who_do_not_read(start_sidecar, renderer):
    """50 unread connections with frames of 16 MiB took 779 MiB."""
    renderer.answers(payload=b"x" * (15 * MIB))
    sidecar = start_sidecar(cache=SMALL_CACHE, log={"level": "info"})
    assert is_served(sidecar)
    asked = GetConfigRequest(project="demo/shop").SerializeToString()
    with ExitStack() as peers:
        for _ in range(50):
            peer = Peer(sidecar.address, reads=False, max_frame_size=MOST_FRAME, initial_window_size=MOST_WINDOW)
            peers.enter_context(peer)
            peer.send(window_update(0, MOST_WINDOW - 65_535))
            peer.call(GET, asked)
        wait_until(lambda: sidecar.metric("lookups_total", served="fresh") >= 50)
        assert is_served(sidecar)
        print(f"{peak(sidecar) / MIB:.0f} MiB")
        assert peak(sidecar) < BOUND


def sidecar_with(start_sidecar, renderer, projects: int, size: int):
    """A sidecar with the cache of the manifest that holds this many projects of that size."""
    renderer.answers(payload=b"x" * size)
    sidecar = start_sidecar(cache=SMALL_CACHE, log={"level": "info"})
    sidecar.batch([f"demo/{n}" for n in range(projects)], patience=20)
    return sidecar


def test_a_thousand_watches_of_1_mib_that_are_not_read_cost_little(start_sidecar, renderer):
    sidecar = sidecar_with(start_sidecar, renderer, 1, MIB)
    asked = WatchConfigRequest(project="demo/0").SerializeToString()
    with ExitStack() as peers:
        for _ in range(10):
            peer = peers.enter_context(Peer(sidecar.address, reads=False))
            for _ in range(100):
                peer.call(WATCH, asked)
        wait_until(lambda: sidecar.metric("watchers") == 1000)
        assert is_served(sidecar, "demo/0")
        assert peak(sidecar) < BOUND


def test_batches_of_32_mib_that_are_not_read_cost_little(start_sidecar, renderer):
    sidecar = sidecar_with(start_sidecar, renderer, 32, MIB)
    asked = BatchGetConfigsRequest(projects=[f"demo/{n}" for n in range(31)]).SerializeToString()
    with ExitStack() as peers:
        for _ in range(20):
            peers.enter_context(Peer(sidecar.address, reads=False)).call(BATCH, asked)
        wait_until(lambda: sidecar.metric("lookups_total", served="fresh") >= 20 * 31)
        assert is_served(sidecar, "demo/0")
        assert peak(sidecar) < BOUND


def test_watchers_of_1_mib_that_read_well_cost_little(start_sidecar, renderer):
    sidecar = sidecar_with(start_sidecar, renderer, 1, MIB)
    wait_until(renderer.is_listened_to)
    asked = WatchConfigRequest(project="demo/0").SerializeToString()
    with ExitStack() as peers:
        offers = {"initial_window_size": MOST_WINDOW}
        watchers = [peers.enter_context(Peer(sidecar.address, **offers)) for _ in range(100)]
        for watcher in watchers:
            watcher.send(window_update(0, MOST_WINDOW - 65_535))
            watcher.call(WATCH, asked)
        wait_until(lambda: all(watcher.came[DATA] >= 64 for watcher in watchers), within=30)
        renderer.answers(payload=b"y" * MIB, number=2)
        renderer.changes("demo/0", 1, 2)
        began = time.monotonic()
        assert is_served(sidecar, "demo/0")
        assert time.monotonic() - began < 0.5
        wait_until(lambda: all(watcher.came[DATA] >= 128 for watcher in watchers), within=30)
        assert peak(sidecar) < BOUND


def test_batches_of_other_projects_that_are_not_read_are_bounded_together(start_sidecar, renderer):
    """Three batches of 31 MiB took 180 to 194 MiB with a cache of 64 MiB: each had a copy of its own."""
    renderer.answers(payload=b"x" * MIB)
    sidecar = start_sidecar(cache=SMALL_CACHE, lookup={"listen": ["127.0.0.1:0"], "max_unread": "16MiB"}, log={"level": "info"})
    batches = [[f"demo/{at}-{n}" for n in range(7)] for at in range(8)]
    for projects in batches:
        sidecar.batch(projects, patience=20)
    with ExitStack() as peers:
        for projects in batches:
            asked = BatchGetConfigsRequest(projects=projects).SerializeToString()
            peers.enter_context(Peer(sidecar.address, reads=False)).call(BATCH, asked)
        wait_until(lambda: sidecar.metric("unread_bytes") > 7 * MIB)
        assert is_served(sidecar, "demo/0-0"), "a lookup waits for none of them"
        assert sidecar.metric("unread_bytes") <= 16 * MIB
        assert sidecar.metric("unread_ended_total") == 0
        print(f"{peak(sidecar) / MIB:.0f} MiB")
        assert peak(sidecar) < BOUND
    wait_until(lambda: sidecar.metric("unread_bytes") == 0)


def test_a_watch_that_is_not_read_ends_with_its_deadline(start_sidecar, renderer):
    """It lived on until its client read: its status waited behind what was not read."""
    sidecar = sidecar_with(start_sidecar, renderer, 1, MIB)
    asked = WatchConfigRequest(project="demo/0").SerializeToString()
    with Peer(sidecar.address) as peer:
        # The window of its stream is never opened again.
        peer.call(WATCH, asked, grpc_timeout="500m")
        wait_until(lambda: peer.came[RST_STREAM] == 1)
        assert sidecar.metric("watchers") == sidecar.metric("unread_bytes") == 0


def opened(path: str, streams: range, body: bytes = b"", flags: int = 0) -> bytes:
    """Calls that begin with these bytes, and, without END_STREAM, do not end."""
    headers = block(path)
    calls = []
    for at in streams:
        stream = 2 * at + 1
        calls.append(frame(HEADERS, END_HEADERS, stream, headers))
        if body or flags:
            calls.append(frame(DATA, flags, stream, body))
    return b"".join(calls)


OPEN = {
    "health watches": (HEALTH_WATCH, message(b""), END_STREAM),
    "begun lookups": (GET, message(b"", length=100), 0),
    "reflections": ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b"", 0),
    "lookups": (GET, b"", 0),
    "watches": (WATCH, message(WatchConfigRequest(project="demo/shop").SerializeToString()), END_STREAM),
    "batches": (BATCH, b"", 0),
}
# The few that tests/run has time for.
FEW = 6 if FULL else 3


@pytest.mark.parametrize("connections", [1, 10] if FULL else [10])
@pytest.mark.parametrize(("path", "body", "flags"), list(OPEN.values())[:FEW], ids=list(OPEN)[:FEW])
def test_any_number_of_open_calls_costs_little(guarded, path, body, flags, connections):
    """129,500 watches of health took 999 MiB, 50,000 open lookups 345 MiB."""
    each = (130_000 if FULL else 20_000) // connections
    assert is_served(guarded)
    with ExitStack() as peers:
        for _ in range(connections):
            peer = peers.enter_context(Peer(guarded.address))
            for start in range(0, each, 1000):
                peer.send(opened(path, range(start, start + 1000), body, flags))
        assert is_served(guarded)
        print(f"{peak(guarded) / MIB:.0f} MiB")
        assert peak(guarded) < BOUND


@pytest.mark.parametrize("path", [GET, BATCH, WATCH, HEALTH_WATCH] if FULL else [GET, BATCH])
def test_large_unfinished_requests_cost_little(guarded, path):
    """300 unfinished requests of 1 MiB, of each method, took 304 MiB."""
    length = 320_000 if path == BATCH else MIB
    callers = 600 if path == BATCH else 300
    with ExitStack() as peers, ThreadPoolExecutor(8) as pool:

        def begin(_):
            peer = peers.enter_context(Peer(guarded.address))
            stream = peer.stream()
            peer.send(frame(HEADERS, END_HEADERS, stream, block(path)))
            peer.upload(stream, message(b"x" * (length - 100), length=length))

        list(pool.map(begin, range(callers)))
        assert is_served(guarded)
        print(f"{peak(guarded) / MIB:.0f} MiB")
        assert peak(guarded) < BOUND


def test_a_request_has_to_be_no_larger_than_its_method_needs(sidecar):
    stub = ConfigServiceStub(sidecar.channel)
    long = "x" * 5000
    assert failure_of(stub.GetConfig, GetConfigRequest(project=long)).code == "OUT_OF_RANGE"
    watch = stub.WatchConfig(WatchConfigRequest(project="demo/shop", known_digest=long))
    assert failure_of(next, watch).code == "OUT_OF_RANGE"
    many = BatchGetConfigsRequest(projects=["x" * 1000] * 400)
    assert failure_of(stub.BatchGetConfigs, many).code == "OUT_OF_RANGE"
    largest = BatchGetConfigsRequest(projects=[f"{n:04}" + "x" * 249 for n in range(1000)])
    assert len(stub.BatchGetConfigs(largest).results) == 1000
    health = health_pb2_grpc.HealthStub(sidecar.channel)
    assert failure_of(health.Check, health_pb2.HealthCheckRequest(service=long)).code == "OUT_OF_RANGE"


def test_an_impossible_digest_is_refused_on_arrival(sidecar):
    for call in [
        lambda digest: sidecar.get("demo/shop", known_digest=digest),
        lambda digest: next(sidecar.watch("demo/shop", known_digest=digest)),
    ]:
        failed = failure_of(call, "a" * 65)
        assert (failed.code, failed.reason, failed.violations) == ("INVALID_ARGUMENT", "INVALID_REQUEST", ["known_digest"])
        assert call("a" * 64)


def test_a_client_is_told_how_many_calls_it_may_have_open(start_sidecar):
    sidecar = start_sidecar(lookup={"listen": ["127.0.0.1:0"], "max_streams": 7})
    with Peer(sidecar.address) as peer:
        peer.send(opened(GET, range(10)))
        wait_until(lambda: peer.came[RST_STREAM] == 3)
        offered = peer.frames[0][3]
        assert b"\x00\x03\x00\x00\x00\x07" in offered, "SETTINGS_MAX_CONCURRENT_STREAMS"


def test_calls_of_many_connections_are_bounded_together_and_the_refusal_says_why(start_sidecar):
    sidecar = start_sidecar(lookup={"listen": ["127.0.0.1:0"], "max_streams": 2})
    sidecar.get("demo/shop", patience=5)
    with ExitStack() as peers:
        for _ in range(4):
            peer = peers.enter_context(Peer(sidecar.address))
            for _ in range(2):
                peer.call(HEALTH_WATCH)
            wait_until(lambda peer=peer: peer.came[HEADERS] == 2)
        failed = failure_of(next, sidecar.watch("demo/shop"))
        assert (failed.code, failed.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")
        assert failed.pushback_ms > 0
        assert served(sidecar.get("demo/shop")) == "FRESH", "what is held is answered all the same"
    wait_until(lambda: next(iter(sidecar.watch("demo/shop"))).answer.payload)


@pytest.mark.parametrize("path", [WATCH, HEALTH_WATCH])
def test_a_watch_ends_with_its_deadline_though_its_client_says_nothing(sidecar, path):
    asked = WatchConfigRequest(project="demo/shop").SerializeToString() if path == WATCH else b""
    sidecar.get("demo/shop", patience=5)
    with Peer(sidecar.address) as peer:
        ending, lasting = peer.call(path, asked, grpc_timeout="300m"), peer.call(path, asked)
        wait_until(lambda: peer.ended(ending))
        assert not peer.ended(lasting)
    wait_until(lambda: sidecar.metric("watchers") == 0)


# Compression.


def test_a_client_that_compresses_by_default_is_served_everywhere(sidecar):
    """It got UNIMPLEMENTED from every method."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(sidecar.address, options=options, compression=grpc.Compression.Gzip) as channel:
        config, health = ConfigServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        # Long enough for a client to think it worthwhile.
        project = "demo/" + "x" * 200
        assert config.GetConfig(GetConfigRequest(project=project), timeout=5).payload
        assert served(config.GetConfig(GetConfigRequest(project=project), timeout=5)) == "FRESH"
        assert len(config.BatchGetConfigs(BatchGetConfigsRequest(projects=[project] * 9), timeout=5).results) == 9
        assert next(config.WatchConfig(WatchConfigRequest(project=project), timeout=5)).answer.payload
        asked = health_pb2.HealthCheckRequest(service="evenkeel.v1.ConfigService")
        assert health.Check(asked, timeout=5).status == next(health.Watch(asked, timeout=5)).status
        for version in ["v1", "v1alpha"]:
            reflect = channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            question = reflection_pb2.ServerReflectionRequest(list_services="x" * 200)
            assert next(reflect(iter([question]), timeout=5)).list_services_response.service


def test_a_small_request_cannot_become_a_large_one(sidecar):
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(sidecar.address, options=options, compression=grpc.Compression.Gzip) as channel:
        bomb = BatchGetConfigsRequest(projects=["x" * (16 * MIB)])
        before = peak(sidecar)
        failure_of(ConfigServiceStub(channel).BatchGetConfigs, bomb, timeout=20)
        assert peak(sidecar) - before < 8 * MIB
