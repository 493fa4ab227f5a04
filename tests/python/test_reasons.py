"""Each reason why an answer is not fresh, provoked by its real cause."""

import signal

import grpc
import pytest

from contract import NotRefreshed
from renderer import payload_of
from sidecar import reason, seconds, served, wait_until

SHOP, OTHER = "demo/shop", "demo/other"

# Those that only sidecars with a store have: test_fleet.py provokes them.
OF_A_FLEET = {"RENDERING_ELSEWHERE", "FLEET_UNREACHABLE"}
NAMES = [name.removeprefix("NOT_REFRESHED_") for name in NotRefreshed.keys()[1:]]

CAUSES = {}


def cause(name, **settings):
    """Says how an outdated answer comes by this reason, in a sidecar with these settings that holds both projects."""

    def note(provoke):
        CAUSES[name] = (settings, provoke)

    return note


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_A_FLEET])
def test_a_reason_is_given_when_its_cause_is_there(name, renderer, start_sidecar):
    settings, provoke = CAUSES[name]
    sidecar = start_sidecar(**settings)
    for project in (SHOP, OTHER):
        wait_until(lambda: sidecar.get(project, patience=5).payload)
    answer = provoke(sidecar, renderer)
    assert (served(answer), reason(answer)) == ("OUTDATED", name)
    assert answer.payload == payload_of(SHOP, 1)
    assert seconds(answer.outdated_for) > 0
    assert seconds(answer.retry_after) > 0


@cause("SCHEDULED")
def _(sidecar, renderer):
    sidecar.release(2)
    return sidecar.get(SHOP, patience=0)


@cause("THROTTLED", admission={"rate": 0.5, "burst": 1})
def _(sidecar, renderer):
    sidecar.release(2)
    return sidecar.get(SHOP)


@cause("CONCURRENCY_LIMITED", admission={"concurrency": 1})
def _(sidecar, renderer):
    renderer.stalls()
    sidecar.release(2)
    sidecar.get(OTHER, patience=0)
    return sidecar.get(SHOP)


@cause("QUEUE_FULL", lookup={"max_waiting": 1})
def _(sidecar, renderer):
    assert sidecar.metric("limit", setting="max_waiting") == 1, "an operator sees which limit it is"
    renderer.stalls()
    waits = sidecar.getting("demo/missing", patience=20)
    wait_until(lambda: sidecar.metric("lookups_waiting") == 1)
    sidecar.release(2)
    answer = sidecar.get(SHOP)
    waits.cancel()
    return answer


@cause("TIMED_OUT")
def _(sidecar, renderer):
    renderer.stalls()
    sidecar.release(2)
    return sidecar.get(SHOP)


@cause("RENDER_FAILED")
def _(sidecar, renderer):
    renderer.fails(grpc.StatusCode.INTERNAL, "rendered nonsense: 403")
    sidecar.release(2)
    return sidecar.get(SHOP, patience=5)


@cause("COOLING_DOWN")
def _(sidecar, renderer):
    renderer.fails(grpc.StatusCode.INTERNAL)
    sidecar.release(2)
    sidecar.get(SHOP, patience=5)
    return sidecar.get(SHOP, patience=5)


@cause("BREAKER_OPEN")
def _(sidecar, renderer):
    others = [f"demo/{n}" for n in range(10)]
    sidecar.batch(others, patience=5)
    renderer.fails(grpc.StatusCode.UNAVAILABLE)
    sidecar.release(2)
    for other in others:
        sidecar.get(other, patience=5)
    return sidecar.get(SHOP)


@cause("PUSHED_BACK")
def _(sidecar, renderer):
    renderer.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, trailers=[("grpc-retry-pushback-ms", "3000")])
    sidecar.release(2)
    return sidecar.get(SHOP, patience=5)


@cause("UNREACHABLE")
def _(sidecar, renderer):
    renderer.stop()
    wait_until(lambda: sidecar.metric("degraded") == 1)
    sidecar.release(2)
    return sidecar.get(SHOP)


@cause("RENDERER_BEHIND")
def _(sidecar, renderer):
    renderer.answers(rollouts_behind=1)
    sidecar.release(2)
    return sidecar.get(SHOP, patience=5)


@cause("REJECTED")
def _(sidecar, renderer):
    renderer.answers(payload=b"")
    sidecar.release(2)
    return sidecar.get(SHOP, patience=5)


@cause("PROJECT_GONE")
def _(sidecar, renderer):
    renderer.knows_not(SHOP)
    sidecar.release(2)
    return sidecar.get(SHOP, patience=5)


@cause("DRAINING", drain={"grace": "30s"})
def _(sidecar, renderer):
    sidecar.release(2)
    sidecar.signal(signal.SIGTERM)
    wait_until(lambda: not sidecar.is_ready())
    return sidecar.get(SHOP)
