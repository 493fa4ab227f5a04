"""Changes of inputs, as a renderer of another make tells of them: what is missed is found, and a stream that fails is seen."""

import grpc
import pytest

from sidecar import served, wait_until

SOON = 25  # A renderer has no positions after 5 s, and the first fetch comes within 10 s.


def number(sidecar, project):
    answer = sidecar.get(project)
    assert served(answer) == "FRESH"
    return answer.revision.number


@pytest.mark.parametrize("has_positions", [False, True])
def test_a_change_that_was_missed_while_the_renderer_restarted_is_found(renderer, start_sidecar, has_positions):
    if has_positions:
        renderer.stands("first-1")
    renderer.stores("shop", rollout=1, number=1)
    sidecar = start_sidecar()
    wait_until(renderer.is_listened_to)
    assert sidecar.get("shop").revision.number == 1
    renders = len(renderer.renders())

    renderer.stop()
    renderer.stores("shop", rollout=1, number=2)
    if has_positions:
        renderer.stands("second-1", knows_positions=False)
    renderer.start()

    wait_until(lambda: number(sidecar, "shop") == 2, SOON)
    assert "shop" in renderer.confirms()
    assert len(renderer.renders()) == renders
    wait_until(lambda: sidecar.metric("projects_unconfirmed") == 0)


def test_a_renderer_that_knows_what_was_missed_is_not_asked_about_what_is_held(renderer, start_sidecar):
    renderer.stands("1")
    renderer.stores("shop", rollout=1, number=1)
    sidecar = start_sidecar()
    wait_until(renderer.is_listened_to)
    assert sidecar.get("shop").revision.number == 1
    # A sidecar that has heard the change has heard the position, which was sent before it.
    renderer.answers(number=2)
    renderer.changes("shop", rollout=1, number=2)
    wait_until(lambda: sidecar.get("shop").revision.number == 2)

    renderer.stop()
    renderer.answers(number=3)
    renderer.start()
    wait_until(renderer.is_listened_to)
    assert renderer.afters()[-1] == "1"
    renderer.changes("shop", rollout=1, number=3)
    wait_until(lambda: sidecar.get("shop").revision.number == 3)
    assert renderer.confirms() == []


def test_a_stream_of_changes_that_keeps_failing_is_said_once_and_one_that_is_not_offered_is_not(
    renderer, start_sidecar
):
    renderer.refuses_changes(grpc.StatusCode.INTERNAL)
    sidecar = start_sidecar()
    words = "stream of changes keeps ending"
    wait_until(lambda: words in sidecar.log())
    assert sidecar.metric("changes_up") == 0

    renderer.refuses_changes(None)
    wait_until(lambda: "no longer keeps ending" in sidecar.log(), SOON)
    assert sidecar.metric("changes_up") == 1
    assert sidecar.log().count(words) == 1

    renderer.refuses_changes(grpc.StatusCode.UNIMPLEMENTED)
    other = start_sidecar()
    wait_until(lambda: len(renderer.afters()) >= 2)
    assert other.get("shop").served
    assert "stream of changes" not in other.log()
