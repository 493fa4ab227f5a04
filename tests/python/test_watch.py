"""Watches: the first answer, then every newer one."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from renderer import payload_of
from sidecar import failure_of, served, wait_until

NOT_FOUND, UNAVAILABLE = 5, 14


def test_the_first_message_is_the_answer_of_a_lookup(sidecar):
    first = next(sidecar.watch("demo/shop"))
    assert served(first.answer) == "RENDERED"
    assert first.answer.payload == payload_of("demo/shop", 1)


def test_a_payload_that_the_watcher_knows_is_left_out(sidecar):
    digest = sidecar.get("demo/shop").revision.digest
    first = next(sidecar.watch("demo/shop", known_digest=digest))
    assert first.answer.not_modified and first.answer.payload == b""


def test_twenty_projects_see_a_release_without_a_lookup(sidecar, renderer):
    watches = [sidecar.watch(f"demo/{n}") for n in range(20)]
    assert {next(watch).answer.revision.rollout for watch in watches} == {1}
    sidecar.release(2)
    assert [next(watch).answer.revision.rollout for watch in watches] == [2] * 20
    assert len(renderer.renders()) == 40


def test_a_change_of_the_input_is_seen(sidecar, renderer):
    watch = sidecar.watch("demo/shop")
    next(watch)
    wait_until(renderer.is_listened_to)
    renderer.answers(number=2)
    renderer.changes("demo/shop", 1, 2)
    assert next(watch).answer.revision.number == 2


def test_a_slow_watcher_ends_on_the_newest(sidecar, renderer):
    watch = sidecar.watch("demo/shop")
    next(watch)
    wait_until(renderer.is_listened_to)
    for number in range(2, 12):
        renderer.answers(number=number, payload=bytes([number]) * (4 << 20))
        renderer.changes("demo/shop", 1, number)
        wait_until(lambda: sidecar.get("demo/shop", patience=2).revision.number == number)

    seen = [next(watch).answer.revision.number]
    while seen[-1] < 11:
        seen.append(next(watch).answer.revision.number)
    assert seen == sorted(set(seen)), "in order, none twice"
    assert len(seen) < 10, "what was replaced meanwhile is not sent"


def test_a_failure_does_not_end_the_stream(sidecar, renderer):
    renderer.fails(grpc.StatusCode.INTERNAL)
    watch = sidecar.watch("demo/shop")
    failure = next(watch).failure
    assert (failure.project, failure.code, failure.reason) == ("demo/shop", UNAVAILABLE, "RENDER_FAILED")
    renderer.answers()
    sidecar.release(2)
    assert next(watch).answer.revision.rollout == 2


def test_a_bad_name_ends_the_stream(sidecar):
    assert failure_of(next, sidecar.watch("no project")).code == "INVALID_ARGUMENT"


@pytest.mark.long
def test_a_deletion_is_an_event(sidecar, renderer):
    # Of many held projects, so that it is no mass deletion, which is suspended.
    projects = [f"demo/{n}" for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sidecar.get, projects))
    watch = sidecar.watch("demo/0", timeout=110)
    next(watch)
    renderer.knows_not("demo/0")
    sidecar.release(2)
    wait_until(lambda: len(renderer.renders("demo/0")) == 2)
    # The second word has to come over another connection: one bad replica must not undo what is held.
    renderer.stop()
    renderer.start()
    failure = next(watch).failure
    assert (failure.code, failure.reason) == (NOT_FOUND, "PROJECT_NOT_FOUND")
    first, second = [render.at for render in renderer.renders("demo/0")][1:3]
    assert second - first >= 30, "only a second word, half a minute later, is believed"
