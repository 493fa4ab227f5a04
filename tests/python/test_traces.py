"""The trace of a lookup goes on to the renderer, so that the renderer's spans have their parent."""

import re

import pytest

from contract import BatchGetConfigsRequest, GetConfigRequest
from sidecar import wait_until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[0-3])")


def look_up(sidecar, project, *traceparent):
    metadata = [("traceparent", value) for value in traceparent]
    return sidecar.stub.GetConfig(GetConfigRequest(project=project), metadata=metadata, timeout=5)


def trace_of(metadata):
    """Trace, span and flags that a call of the sidecar carried."""
    trace, span, flags = TRACEPARENT.fullmatch(metadata["traceparent"]).groups()
    assert int(trace, 16) and int(span, 16)
    return trace, span, flags


@pytest.mark.parametrize("flags", ["00", "01"])
def test_render_and_fetch_carry_the_trace_of_the_lookup_that_caused_them(sidecar, renderer, flags):
    renderer.stores("other", rollout=1)
    look_up(sidecar, "shop", f"00-{TRACE}-{PARENT}-{flags}")
    (render,) = renderer.renders("shop")
    fetch = renderer.fetch_metadata()[renderer.fetches().index("shop")]
    spans = {PARENT}
    for metadata in (render.metadata, fetch):
        trace, span, passed_on = trace_of(metadata)
        assert (trace, passed_on) == (TRACE, flags)
        assert span not in spans, "each call has a span of its own"
        spans.add(span)


@pytest.mark.parametrize(
    "traceparent", [None, "", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{PARENT}", f"00-{TRACE.upper()}-{PARENT}-01", "x" * 3000]
)
def test_a_lookup_without_a_valid_trace_causes_a_new_one(sidecar, renderer, traceparent):
    look_up(sidecar, "shop", *([] if traceparent is None else [traceparent]))
    look_up(sidecar, "market", *([] if traceparent is None else [traceparent]))
    traces = [trace_of(call.metadata) for call in renderer.renders()]
    assert len(traces) == 2 and traces[0][0] != traces[1][0]
    assert all(trace != TRACE and flags == "00" for trace, _, flags in traces)


def test_a_batch_lends_its_trace_and_a_fresh_lookup_causes_nothing(sidecar, renderer):
    request = BatchGetConfigsRequest(projects=["a", "b"])
    list(sidecar.stub.BatchGetConfigs(request, metadata=[("traceparent", f"00-{TRACE}-{PARENT}-01")], timeout=5).results)
    assert {trace_of(call.metadata)[0] for call in renderer.renders()} == {TRACE}
    sidecar.get("a")
    assert len(renderer.renders()) == 2


def test_a_release_belongs_to_the_first_lookup_after_it(sidecar, renderer):
    look_up(sidecar, "shop", f"00-{TRACE}-{PARENT}-01")
    later = TRACE[::-1]
    sidecar.release(2)
    look_up(sidecar, "shop", f"00-{later}-{PARENT}-00")
    wait_until(lambda: len(renderer.renders()) == 2)
    assert trace_of(renderer.renders()[1].metadata)[::2] == (later, "00")
