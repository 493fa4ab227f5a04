"""`evenkeel get`, the client for people and scripts."""

import base64
import json
import os
import socket
import subprocess

import grpc
import pytest

from renderer import payload_of
from sidecar import BINARY

NOT_FOUND, UNREACHABLE, NOT_NOW = 3, 69, 75


@pytest.fixture
def get(sidecar):
    """Runs it against the sidecar."""

    def run(*arguments):
        return evenkeel_get(sidecar.address, *arguments)

    return run


def evenkeel_get(address, *arguments):
    environment = {**os.environ, "EVENKEEL_ADDRESS": address}
    return subprocess.run([BINARY, "get", *arguments], capture_output=True, env=environment, timeout=30)


def test_it_prints_the_payload_and_says_how_it_was_served(get):
    got = get("demo/shop")
    assert got.returncode == 0
    assert got.stdout == payload_of("demo/shop", 1)
    assert got.stderr.decode().startswith("RENDERED demo/shop rollout 1 number 1 digest ")
    assert get("demo/shop").stderr.startswith(b"FRESH ")


def test_it_says_why_an_answer_is_outdated(get, sidecar, renderer):
    get("demo/shop")
    renderer.stalls()
    sidecar.release(2)
    got = get("demo/shop", "--patience", "100ms")
    assert (got.returncode, got.stdout) == (0, payload_of("demo/shop", 1))
    assert got.stderr.startswith(b"OUTDATED demo/shop rollout 1")
    assert b": TIMED_OUT, retry after " in got.stderr
    assert get("demo/shop", "--fresh", "--patience", "0").returncode == NOT_NOW


def test_it_prints_one_object_with_everything(get):
    got = json.loads(get("demo/shop", "--output", "json").stdout)
    assert (got["served"], got["rollout"], got["number"]) == ("RENDERED", 1, 1)
    assert (got["payload_encoding"], got["payload"]) == ("json", json.loads(payload_of("demo/shop", 1)))
    known = json.loads(get("demo/shop", "--output", "json", "--known-digest", got["digest"]).stdout)
    assert (known["not_modified"], known["payload"]) == (True, None)


def test_it_prints_one_line_whatever_the_lines_of_the_payload(get, renderer):
    payload = {"name": "line\nbreak", "scopes": [{"id": 1}]}
    renderer.answers(payload=json.dumps(payload, indent=2).encode() + b"\n")
    printed = get("demo/shop", "--output", "json").stdout
    assert printed.count(b"\n") == 1
    assert json.loads(printed)["payload"] == payload


def test_it_encodes_a_payload_that_is_no_json(get, renderer):
    renderer.answers(payload=b"\xff\x00 not JSON")
    got = json.loads(get("demo/shop", "--output", "json").stdout)
    assert got["payload_encoding"] == "base64"
    assert base64.b64decode(got["payload"]) == b"\xff\x00 not JSON"


def test_it_takes_whatever_a_sidecar_accepts(start_sidecar, renderer):
    sidecar = start_sidecar(upstream={"max_payload": "70MiB"})
    renderer.answers(payload=b"x" * (65 << 20))
    got = evenkeel_get(sidecar.address, "demo/shop", "--patience", "20s")
    assert (got.returncode, len(got.stdout)) == (0, 65 << 20), got.stderr


def test_its_exit_code_tells_what_failed(get, renderer):
    renderer.knows_not("demo/nobody")
    assert get("demo/nobody").returncode == NOT_FOUND

    renderer.fails(grpc.StatusCode.INTERNAL, only="demo/failing")
    failing = get("demo/failing")
    assert failing.returncode == NOT_NOW
    assert failing.stderr.startswith(b"evenkeel: UNAVAILABLE (RENDER_FAILED): ")
    assert b"retry after" in failing.stderr

    unmet = get("demo/shop", "--min-rollout", "1", "--min-number", "9")
    assert unmet.returncode == 1
    assert b"FAILED_PRECONDITION (DEMAND_NOT_MET)" in unmet.stderr


def test_it_says_when_there_is_no_sidecar():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        got = evenkeel_get("{}:{}".format(*nobody.getsockname()), "demo/shop")
    assert got.returncode == UNREACHABLE
    assert b"no sidecar answers at 127.0.0.1:" in got.stderr


@pytest.mark.parametrize("arguments", [["no project"], ["demo/shop", "--min-number", "1"], ["demo/shop", "--patience", "soon"]])
def test_it_refuses_wrong_usage(arguments):
    assert evenkeel_get("127.0.0.1:1", *arguments).returncode == 2


def test_it_gives_up_on_a_hung_sidecar(get, renderer):
    renderer.stalls()
    got = get("demo/shop", "--patience", "20s", "--timeout", "300ms")
    assert got.returncode == NOT_NOW, "the sidecar knows the deadline, and answers before it"
    assert b"DEADLINE_EXCEEDED (TIMED_OUT)" in got.stderr
