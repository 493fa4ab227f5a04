"""Batches: several lookups in one call."""

import pytest

from renderer import payload_of
from sidecar import failure_of, served

NOT_FOUND, INVALID_ARGUMENT, RESOURCE_EXHAUSTED = 5, 3, 8


def test_results_come_in_the_order_asked_and_duplicates_each_time(sidecar, renderer):
    sidecar.get("demo/b")
    asked = ["demo/c", "demo/a", "demo/b", "demo/a"]
    results = sidecar.batch(asked)
    assert [result.answer.payload for result in results] == [payload_of(project, 1) for project in asked]
    assert served(results[2].answer) == "FRESH"
    assert len(renderer.renders("demo/a")) == 1


def test_one_failure_leaves_the_others_answered(sidecar, renderer):
    renderer.knows_not("demo/nobody")
    shop, nobody, bad = sidecar.batch(["demo/shop", "demo/nobody", "no project"])
    assert shop.answer.payload == payload_of("demo/shop", 1)
    assert (nobody.failure.project, nobody.failure.code) == ("demo/nobody", NOT_FOUND)
    assert nobody.failure.reason == "PROJECT_NOT_FOUND"
    assert not nobody.failure.HasField("retry_after")
    assert (bad.failure.project, bad.failure.code) == ("no project", INVALID_ARGUMENT)
    assert bad.failure.reason == "INVALID_PROJECT"


def test_one_patience_holds_for_all(sidecar, renderer):
    sidecar.get("demo/held")
    renderer.stalls()
    held, missing = sidecar.batch(["demo/held", "demo/missing"], patience=0.2)
    assert served(held.answer) == "FRESH"
    assert missing.failure.reason == "TIMED_OUT"
    assert missing.failure.HasField("retry_after")


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_1_to_1000_projects(sidecar, renderer, count):
    failed = failure_of(sidecar.batch, ["demo/shop"] * count)
    assert failed.code == "INVALID_ARGUMENT"
    assert failed.violations == ["projects"]
    assert renderer.renders() == []


def test_a_thousand_times_the_same_project_is_one_render(sidecar, renderer):
    results = sidecar.batch(["demo/shop"] * 1000)
    assert {result.answer.payload for result in results} == {payload_of("demo/shop", 1)}
    assert len(renderer.renders()) == 1


def test_payloads_beyond_32_mib_are_to_be_asked_for_singly(sidecar, renderer):
    renderer.answers(payload=b"x" * (15 << 20))
    projects = ["demo/a", "demo/b", "demo/c"]
    for project in projects:
        sidecar.get(project)
    results = sidecar.batch(projects)
    assert [result.WhichOneof("result") for result in results].count("answer") == 2
    (failed,) = [result.failure for result in results if result.HasField("failure")]
    assert failed.code == RESOURCE_EXHAUSTED
    assert "ask singly" in failed.message
