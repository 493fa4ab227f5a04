"""Renderers that take only a few calls at once, and stores that are slow: a refusal is no failure, and a fetch no render."""

import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from contract import FetchRequest, RenderRequest, RenderServiceStub
from sidecar import served, wait_until

MANY = {"rate": 1000, "burst": 1000, "concurrency": 16}


def look_up(sidecar, projects, patience):
    """Looks all of them up at once, and returns the answers and how long they took."""
    start = time.monotonic()
    with ThreadPoolExecutor(len(projects)) as threads:
        answers = list(threads.map(lambda project: sidecar.get(project, patience=patience), projects))
    return answers, time.monotonic() - start


def what_the_server_needs(renderer, method: str, requests: list) -> float:
    """How long a client takes for the calls that never makes more than two at once, on this machine as it is now."""
    with grpc.insecure_channel(renderer.url.removeprefix("http://")) as channel, ThreadPoolExecutor(2) as threads:
        call = getattr(RenderServiceStub(channel), method)
        call(requests[0], wait_for_ready=True)

        def until_taken(request):
            # grpcio counts a call for a moment after its answer has arrived.
            while True:
                try:
                    return call(request)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                        raise

        start = time.monotonic()
        list(threads.map(until_taken, requests))
        return time.monotonic() - start


def test_fetches_that_a_server_refuses_are_fetched_again_and_not_rendered(renderer, start_sidecar):
    """grpcio's maximum_concurrent_rpcs says a plain RESOURCE_EXHAUSTED: 28 of 30 fetches became renders."""
    projects = [f"demo/{number}" for number in range(30)]
    renderer.stores(*projects, rollout=1)
    renderer.costs(0.02)
    renderer.takes_at_once(2)
    needs = what_the_server_needs(renderer, "Fetch", [FetchRequest(project=project) for project in projects])
    sidecar = start_sidecar(admission=MANY)
    answers, took = look_up(sidecar, projects, patience=5)
    assert all(answer.payload for answer in answers)
    assert took <= 1.5 * needs + 0.5
    assert renderer.renders() == []
    assert sidecar.metric("fetches_total", result="refused") > 0


def test_renders_that_a_server_refuses_are_asked_for_again(renderer, start_sidecar):
    """As above without Fetch: 28 of 30 lookups failed within 0.1 s."""
    renderer.costs(0.05)
    renderer.takes_at_once(2)
    projects = [f"demo/{number}" for number in range(30)]
    needs = what_the_server_needs(renderer, "Render", [RenderRequest(project=project, rollout=1) for project in projects])
    sidecar = start_sidecar(admission=MANY)
    answers, took = look_up(sidecar, projects, patience=5)
    assert {served(answer) for answer in answers} == {"RENDERED"}
    assert took <= 1.5 * needs + 0.5
    assert sidecar.metric("renders_total", result="refused") > 0
    assert sidecar.metric("concurrency_in_force", call="render") < 16
    assert sidecar.metric("breaker_open") == 0


def test_a_release_on_a_server_that_refuses_takes_no_longer_than_the_server(renderer, start_sidecar):
    """Each refused project cooled down for 5 s and more: 60 held ones took 15 s."""
    projects = [f"demo/{number}" for number in range(60)]
    renderer.takes_at_once(2)
    sidecar = start_sidecar(admission=MANY)
    look_up(sidecar, projects, patience=5)
    renderer.costs(0.05)
    needs = what_the_server_needs(renderer, "Render", [RenderRequest(project=project, rollout=1) for project in projects])
    start = time.monotonic()
    sidecar.release(2)
    look_up(sidecar, projects, patience=0)
    wait_until(lambda: sidecar.metric("projects", state="outdated") == 0, within=30)
    assert time.monotonic() - start <= 1.5 * needs + 2


def test_a_slow_store_is_waited_for_as_long_as_the_settings_say(renderer, start_sidecar):
    """It was given up after 1 s, whatever the settings: 20 stored projects became 20 renders."""
    projects = [f"demo/{number}" for number in range(20)]
    renderer.stores(*projects, rollout=1)
    renderer.costs(1.5)
    sidecar = start_sidecar(upstream={"fetch": {"deadline": "3s", "concurrency": 20}})
    answers, _ = look_up(sidecar, projects, patience=5)
    assert all(answer.payload for answer in answers)
    assert renderer.renders() == []
