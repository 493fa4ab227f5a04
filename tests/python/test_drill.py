"""`evenkeel drill`: what it finds before the embedded renderer, and that it fails, saying why, when outdated serving is broken."""

import json
import re
import subprocess

import pytest

from embedded import Embedded
from sidecar import BINARY


@pytest.fixture
def renderer(tmp_path):
    renderer = Embedded(tmp_path, cost="20ms", rollout=3)
    yield renderer
    renderer.stop()


def drill(upstream, *arguments, project="paperboy"):
    command = [BINARY, "drill", f"--upstream={upstream}", f"--project={project}", "--deadline=1s", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.long
def test_every_promise_is_kept_before_a_real_renderer_that_is_asked_for_little(renderer):
    code, said, errors = drill(renderer.url, "--output=json")
    assert (code, errors) == (0, ""), (said, errors)
    report = json.loads(said)
    assert (report["schema"], report["kept"]) == ("evenkeel.drill/1", True)
    steps = report["steps"]
    assert [step["name"] for step in steps] == ["rendered", "delayed", "cut", "healed", "held", "healed", "budget"]
    assert not any(step["broken"] for step in steps)
    cut, held = steps[2], steps[4]
    assert cut["outdated"] == {"UNREACHABLE": cut["lookups"]} and cut["lookups"] == 200 and cut["renders"] == 0
    assert held["outdated"].keys() >= {"CONCURRENCY_LIMITED", "TIMED_OUT", "BREAKER_OPEN"} and held["lookups"] >= 200
    asked = renderer.renders()
    assert asked["asked"] == report["renders"] <= 10, "the tap counts what the renderer sees"
    assert all(re.fullmatch(r"paperboy(-drill-[1-8])?", project) for project in asked["projects"]), asked


@pytest.mark.long
def test_it_fails_and_says_why_where_outdated_answers_are_not_served(renderer):
    code, said, errors = drill(renderer.url, "--max-outdated=0s")
    assert code == 1
    assert "BROKEN  cut" in said and "kept    rendered" in said, said
    assert "a promise was broken: cut: 220 of 220 lookups failed, the first with FAILED_PRECONDITION (DEMAND_NOT_MET): outdated for " in errors, errors


def test_a_renderer_that_cannot_be_reached_and_an_unknown_canary_are_told_apart(renderer):
    code, said, errors = drill("http://127.0.0.1:1", "--within=1s")
    assert (code, said) == (69, "") and "http://127.0.0.1:1/ cannot be reached: Connection refused" in errors, errors
    code, said, errors = drill(renderer.url, project="no-such-project")
    assert (code, said) == (78, "") and "knows no project no-such-project" in errors, errors
    renderer.spoil("paperboy")
    renderer.restart()
    code, said, errors = drill(renderer.url, "--within=1s")
    assert (code, said) == (1, "") and "the canary is not rendered within 1s: " in errors, errors


@pytest.mark.parametrize(
    "wrong",
    [
        ["--upstream=https://renderer:7070", "--project=a"],
        ["--upstream=renderer:7070", "--project=a"],
        ["--upstream=http://renderer:7070", "--project=a b"],
        ["--upstream=http://renderer:7070", "--project=a", "--deadline=1ms"],
        ["--project=a"],
    ],
)
def test_a_wrong_flag_is_wrong_usage(wrong):
    done = subprocess.run([BINARY, "drill", *wrong], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and done.stderr, done
