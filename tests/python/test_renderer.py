"""The scripted renderer keeps its word; if these fail, look at nothing else."""

import grpc
import pytest

from contract import ChangesRequest, FetchRequest, RenderRequest, RenderServiceStub
from renderer import payload_of
from sidecar import wait_until


@pytest.fixture
def calls(renderer):
    with grpc.insecure_channel(f"127.0.0.1:{renderer.port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield RenderServiceStub(channel)


def ask(project="demo/a", rollout=3):
    return RenderRequest(project=project, rollout=rollout)


def test_it_answers_with_the_rollout_asked_for_and_remembers_the_call(renderer, calls):
    response = calls.Render(ask(), timeout=5)
    assert response.revision.rollout == 3
    assert response.payload == payload_of("demo/a", 3)
    assert [call.project for call in renderer.renders()] == ["demo/a"]


def test_a_stalled_call_goes_on_when_it_is_told_to_answer(renderer, calls):
    renderer.stalls()
    call = calls.Render.future(ask(), timeout=5)
    wait_until(renderer.renders)
    assert not call.done()
    renderer.answers()
    assert call.result().revision.rollout == 3


def test_it_fails_one_project_and_answers_another(renderer, calls):
    renderer.fails(grpc.StatusCode.ABORTED, trailers=[("grpc-retry-pushback-ms", "70")], only="demo/a")
    with pytest.raises(grpc.RpcError) as caught:
        calls.Render(ask(), timeout=5)
    assert caught.value.code() == grpc.StatusCode.ABORTED
    assert ("grpc-retry-pushback-ms", "70") in caught.value.trailing_metadata()
    assert calls.Render(ask("demo/b"), timeout=5).payload


def test_it_fetches_what_it_stored(renderer, calls):
    renderer.stores("demo/a", rollout=2)
    assert calls.Fetch(FetchRequest(project="demo/a"), timeout=5).revision.rollout == 2
    with pytest.raises(grpc.RpcError) as caught:
        calls.Fetch(FetchRequest(project="demo/b"), timeout=5)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_it_tells_of_changes(renderer, calls):
    stream = calls.Changes(ChangesRequest(), timeout=5)
    wait_until(renderer.is_listened_to)
    renderer.changes("demo/a", 1, 2)
    assert next(stream).number == 2


def test_it_comes_back_on_its_port(renderer, calls):
    renderer.stop()
    with pytest.raises(grpc.RpcError):
        calls.Render(ask(), timeout=5)
    renderer.start()
    assert calls.Render(ask(), timeout=5, wait_for_ready=True).payload
