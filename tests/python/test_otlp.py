"""Spans of renders and fetches, as a collector gets them: protocol and messages are those that OpenTelemetry publishes for Python."""

import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer, add_TraceServiceServicer_to_server
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from contract import GetConfigRequest
from sidecar import BINARY, Sidecar, wait_until

EXPORTER = BINARY.with_name(f"{BINARY.name}-otlp")
"""The same program, built with the feature `otlp`."""

pytestmark = pytest.mark.skipif(not EXPORTER.exists(), reason=f"NO SPAN IS LOOKED AT: tests/run builds {EXPORTER}")

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = (f"00-{TRACE}-{PARENT}-{flags}" for flags in ("01", "00"))

PROMPT = 1.0
"""How long a lookup may take, in seconds, that waits for no collector."""


class Collector(TraceServiceServicer):
    """A collector that remembers every span."""

    def __init__(self, address: str = "127.0.0.1:0"):
        self.requests = []
        self._server = grpc.server(ThreadPoolExecutor(2))
        add_TraceServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port(address)}"
        self._server.start()

    def Export(self, request, context):  # noqa: N802
        self.requests.append(request)
        return ExportTraceServiceResponse()

    def spans(self) -> list[Span]:
        resources = (resource for request in self.requests for resource in request.resource_spans)
        return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]

    def stop(self):
        self._server.stop(None).wait()


class HungCollector:
    """Accepts connections, takes what comes, and never answers."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._listener.getsockname())
        self._connections = []
        self._received = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            while chunk := connection.recv(4096):
                self._received += len(chunk)

    def is_called(self) -> bool:
        """Whether more has come than a connection begins with."""
        return self._received > 200

    def stop(self):
        for each in (self._listener, *self._connections):
            each.close()


class Exporter(Sidecar):
    """A sidecar of the build that exports spans."""

    def command(self) -> list:
        return [EXPORTER, "serve", "--config", self.settings_file]


@pytest.fixture
def start_exporter(renderer, tmp_path):
    """Starts a sidecar with that collector, before a renderer that offers fetches."""
    renderer.stores("other", rollout=1)
    started = []

    def start(collector: str, **settings) -> Exporter:
        otlp = {"endpoint": f"http://{collector}", **settings.pop("otlp", {})}
        started.append(Exporter(tmp_path, renderer.url, otlp=otlp, **settings))
        return started[-1].start()

    yield start
    for sidecar in started:
        sidecar.stop()
        print(sidecar.log())


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.stop()


@pytest.fixture
def hung():
    hung = HungCollector()
    yield hung
    hung.stop()


def look_up(sidecar, project, traceparent=SAMPLED):
    metadata = [("traceparent", traceparent)] if traceparent else None
    return sidecar.stub.GetConfig(GetConfigRequest(project=project), metadata=metadata, timeout=PROMPT)


def attributes(of) -> dict:
    return {each.key: each.value.string_value or each.value.int_value for each in of.attributes}


def test_the_flights_of_a_sampled_lookup_and_no_others_reach_the_collector(start_exporter, renderer, collector):
    sidecar = start_exporter(collector.address)
    before = time.time_ns()
    look_up(sidecar, "untraced", None)
    look_up(sidecar, "unsampled", NOT_SAMPLED)
    look_up(sidecar, "shop")
    spans = {span.name: span for span in wait_until(lambda: len(collector.spans()) >= 2 and collector.spans())}
    assert len(collector.spans()) == 2, collector.spans()
    fetch, render = (spans[f"evenkeel.v1.RenderService/{method}"] for method in ("Fetch", "Render"))

    for span in (fetch, render):
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert span.flags & 0xFF == 1, "it is sampled"
        assert before <= span.start_time_unix_nano < span.end_time_unix_nano <= time.time_ns()
    assert fetch.end_time_unix_nano <= render.start_time_unix_nano
    assert attributes(fetch).items() >= {"evenkeel.project": "shop", "evenkeel.outcome": "not_found"}.items()
    of_render = {"evenkeel.outcome": "stored", "evenkeel.reason": "missing", "evenkeel.attempt": 1, "evenkeel.rollout": 1}
    assert attributes(render).items() >= of_render.items()

    # What the renderer makes of it hangs below the sidecar's span.
    (call,) = renderer.renders("shop")
    assert call.metadata["traceparent"] == f"00-{TRACE}-{render.span_id.hex()}-01"
    fetched = renderer.fetch_metadata()[renderer.fetches().index("shop")]
    assert fetched["traceparent"] == f"00-{TRACE}-{fetch.span_id.hex()}-01"

    (resource,) = (spans.resource for spans in collector.requests[0].resource_spans)
    assert attributes(resource).items() >= {"service.name": "evenkeel", "host.name": socket.gethostname()}.items()
    wait_until(lambda: sidecar.metric("spans_total", result="exported") == 2)
    assert sidecar.metric("spans_total", result="dropped") == 0


def test_each_attempt_that_fails_is_a_span_that_says_so_and_none_is_lost_at_the_end(start_exporter, renderer, collector):
    sidecar = start_exporter(collector.address, drain={"grace": "0s"})
    renderer.fails(grpc.StatusCode.UNAVAILABLE, "told to")
    request = GetConfigRequest(project="shop")
    request.patience.FromSeconds(5)
    with pytest.raises(grpc.RpcError):
        sidecar.stub.GetConfig(request, metadata=[("traceparent", SAMPLED)], timeout=10)
    sidecar.hang_up()
    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait_for_exit(within=10) == 0
    renders = [span for span in collector.spans() if span.name.endswith("Render")]
    assert len(renders) == len(renderer.renders()) >= 2
    for attempt, span in enumerate(renders, start=1):
        assert (attributes(span)["evenkeel.attempt"], attributes(span)["evenkeel.outcome"]) == (attempt, "unavailable")
        assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "unavailable")


def test_a_collector_that_hangs_costs_spans_and_no_lookup_its_time(start_exporter, hung):
    sidecar = start_exporter(hung.address, otlp={"queue": 4})
    look_up(sidecar, "first")
    wait_until(hung.is_called)
    # From now on no span leaves the queue: each lookup adds a fetch and a render.
    for number in range(20):
        look_up(sidecar, f"shop-{number}")
    wait_until(lambda: sidecar.metric("spans_total", result="dropped") == 2 * 20 - 4)
    assert sidecar.metric("spans_total", result="exported") == 0
    wait_until(lambda: "spans are dropped" in sidecar.log())
    for number in range(20):
        look_up(sidecar, f"market-{number}")
    assert len(re.findall("spans are dropped: the collector does not take them", sidecar.log())) == 1
    sidecar.hang_up()
    began = time.monotonic()
    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait_for_exit(within=10) == 0
    assert time.monotonic() - began < 5, "the end waits a second for the collector, and one for its clients"


def test_a_collector_that_comes_back_gets_what_ends_after_that(start_exporter):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = "{}:{}".format(*free.getsockname())
    sidecar = start_exporter(address)
    look_up(sidecar, "shop")
    wait_until(lambda: sidecar.metric("spans_total", result="dropped") == 2, within=10)
    wait_until(lambda: "spans are dropped" in sidecar.log())
    assert "onnection refused" in sidecar.log(), "the log says why"
    collector = Collector(address)
    look_up(sidecar, "market")
    wait_until(lambda: {attributes(span)["evenkeel.project"] for span in collector.spans()} == {"market"}, within=10)
    collector.stop()
    assert sidecar.metric("spans_total", result="dropped") == 2
