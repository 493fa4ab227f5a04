"""How a sidecar starts: with settings that are not fit yet, from a pipe, at an address that is taken, and without IPv6."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import grpc
import pytest

from contract import BatchGetConfigsRequest
from sidecar import BINARY, Sidecar, duration, failure_of, wait_until


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def prepare(renderer, tmp_path):
    """A sidecar whose hot settings stand in a file of their own, on ports that stay the same; not started yet."""
    prepared = []

    def make(hot) -> Sidecar:
        sidecar = Sidecar(tmp_path, renderer.url)
        for name in ["rollout", "admission"]:
            del sidecar.settings[name]
        sidecar.settings["lookup"]["listen"] = [f"127.0.0.1:{free_port()}"]
        sidecar.settings["telemetry"]["listen"] = f"127.0.0.1:{free_port()}"
        (sidecar.address,) = sidecar.settings["lookup"]["listen"]
        sidecar.telemetry = sidecar.settings["telemetry"]["listen"]
        sidecar.edit()
        sidecar.log_file.touch()
        sidecar.hot = tmp_path / "hot.yaml"
        if hot is not None:
            sidecar.hot.write_text(hot)
        sidecar.command = lambda: [BINARY, "serve", "--config", sidecar.settings_file, "--config", sidecar.hot]
        prepared.append(sidecar)
        return sidecar

    yield make
    for sidecar in prepared:
        sidecar.stop()
        print(f"--- {sidecar.log_file}\n{sidecar.log()}")


def waits(sidecar):
    """Starts it, and returns what it waits for by /readyz."""
    with sidecar.open_log() as log:
        sidecar._process = subprocess.Popen(sidecar.command(), stdout=log, stderr=log)
    wait_until(lambda: sidecar.http("/readyz")[0] == 503 and "settings" in sidecar.http("/readyz")[1], within=15)
    wait_until(lambda: "lookups are refused" in sidecar.log())
    return sidecar.http("/readyz")[1]


HOT = {
    "a typo in a value": ("admission: {rate: 5}\nrollout: two\n", ":2:10", "rollout = two"),
    "a typo in a name": ("admission:\n  rate: 5\nrolout: 2\n", ":3:1", "rolout"),
    "a structure": ("rollout: 2\nadmission: {rate: 5\n", ":", "hot.yaml"),
    "an empty file": ("", "  is empty", "hot.yaml"),
    "a missing file": (None, "  cannot be read", "No such file"),
}


@pytest.mark.parametrize("hot, place, words", HOT.values(), ids=HOT)
def test_a_mistake_in_hot_yaml_is_waited_out_unready(prepare, renderer, hot, place, words):
    # Every new pod ended with 78 while the old ones went on.
    sidecar = prepare(hot)
    pending = waits(sidecar)
    assert f"{sidecar.hot}{place}" in pending
    assert words in pending
    said = pending.split("settings: ")[1].strip()

    failed = failure_of(sidecar.get, "demo/shop", patience=0)
    assert (failed.code, failed.reason) == ("UNAVAILABLE", "SETTINGS_INVALID")
    assert said in failed.message, "in the same words"
    assert failed.pushback_ms > 0
    batch = failure_of(sidecar.stub.BatchGetConfigs, BatchGetConfigsRequest(projects=["demo/shop"]), timeout=5)
    watch = failure_of(next, sidecar.watch("demo/shop"))
    assert batch.reason == watch.reason == "SETTINGS_INVALID"
    assert sidecar.http("/livez")[0] == 200
    assert (sidecar.metric("settings_valid"), sidecar.metric("ready")) == (0, 0)
    assert sidecar.metric("lookups_total", reason="SETTINGS_INVALID") == 3
    assert sidecar.log().count(said) == 1, "one line"
    assert sidecar.exit_code() is None
    assert not renderer.renders(), "no rollout is guessed"

    sidecar.hot.write_text("rollout: 2\nadmission: {rate: 1000, burst: 1000}\n")
    wait_until(sidecar.is_ready, within=5)
    sidecar.hang_up()
    assert sidecar.get("demo/shop").revision.rollout == 2
    assert sidecar.metric("settings_valid") == 1
    sidecar.signal(signal.SIGTERM)
    sidecar.hang_up()
    assert sidecar.wait_for_exit(within=5) == 0


def test_another_mistake_is_another_line_and_sighup_reads_at_once(prepare):
    sidecar = prepare("rollout: two\n")
    waits(sidecar)
    sidecar.hot.write_text("rollout: three\n")
    sidecar.signal(signal.SIGHUP)
    wait_until(lambda: "rollout = three" in sidecar.http("/readyz")[1])
    # The page is answered a moment before the line is written.
    wait_until(lambda: "rollout = three" in sidecar.log())
    assert sidecar.log().count("rollout = two") == sidecar.log().count("rollout = three") == 1


def test_a_connection_from_before_the_repair_does_not_stay_with_the_refusal(prepare):
    sidecar = prepare("rollout: two\n")
    waits(sidecar)
    assert failure_of(sidecar.get, "demo/shop").reason == "SETTINGS_INVALID"
    sidecar.hot.write_text("rollout: 2\n")
    wait_until(sidecar.is_ready)

    def answered():
        try:
            return sidecar.get("demo/shop").payload
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            return None

    wait_until(answered)


def test_a_sidecar_that_waits_for_its_settings_ends_when_it_is_told_to(prepare):
    sidecar = prepare("rollout: two\n")
    waits(sidecar)
    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait_for_exit(within=5) == 0


def test_a_mistake_in_a_restart_only_file_still_ends_it(prepare):
    sidecar = prepare("rollout: 2\n")
    sidecar.write_settings("upstream: {url: 'https://renderer'}\ntelemetry: {listen: '127.0.0.1:0'}\n")
    ended = subprocess.run(sidecar.command(), capture_output=True, text=True, timeout=10)
    assert ended.returncode == 78
    assert f"{sidecar.settings_file}:1:" in ended.stderr


# What is read once


def test_settings_are_checked_from_standard_input(tmp_path):
    good, bad = b"rollout: 2\n", b"rollout: two\n"
    for name in ["-", "/dev/stdin"]:
        checked = subprocess.run([BINARY, "check", name], input=good, capture_output=True, timeout=10)
        assert checked.returncode == 0, checked.stderr
        checked = subprocess.run([BINARY, "check", name], input=bad, capture_output=True, timeout=10)
        assert checked.returncode == 78
        assert b":1:10  rollout = two" in checked.stderr
    file = tmp_path / "settings.yaml"
    file.write_bytes(good)
    with file.open() as settings:
        checked = subprocess.run([BINARY, "check", "/dev/stdin"], stdin=settings, capture_output=True, timeout=10)
    assert checked.returncode == 0, checked.stderr


def test_settings_are_checked_from_the_substitution_of_a_process():
    command = f'{BINARY} check <(echo "rollout: 2") <(echo "log: {{level: warn}}")'
    checked = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=10)
    assert checked.returncode == 0, checked.stderr


def test_a_sidecar_reads_its_settings_from_a_pipe_once(prepare):
    sidecar = prepare(None)
    settings = sidecar.settings_file.read_text()
    sidecar.command = lambda: ["bash", "-c", f"exec {BINARY} serve --config <(cat {sidecar.settings_file})"]
    with sidecar.open_log() as log:
        sidecar._process = subprocess.Popen(sidecar.command(), stdout=log, stderr=log)
    wait_until(sidecar.is_ready, within=15)
    sidecar.signal(signal.SIGHUP)
    wait_until(lambda: "settings read, nothing changed" in sidecar.log())
    assert sidecar.metric("settings_valid") == 1
    assert settings == sidecar.settings_file.read_text()


def test_a_pipe_without_a_writer_is_given_up(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    checked = subprocess.run([BINARY, "check", pipe], capture_output=True, text=True, timeout=20)
    assert checked.returncode == 78
    assert "nothing came" in checked.stderr


def test_a_signal_is_heard_while_settings_are_waited_for(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([BINARY, "serve", "--config", pipe], stderr=subprocess.DEVNULL) as process:
        # It takes the signal over, rather than to have the system end it: process 1 of a container has no such default.
        caught = lambda: int(Path(f"/proc/{process.pid}/status").read_text().split("SigCgt:")[1].split()[0], 16)
        wait_until(lambda: caught() >> (signal.SIGTERM - 1) & 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(3) == 0


# What stands around it


def ends_at_once(arguments, **environment):
    return subprocess.run(
        [BINARY, *arguments], capture_output=True, text=True, timeout=10, env={**os.environ, **environment}
    )


def test_a_password_in_a_url_is_refused_and_never_printed(tmp_path):
    url = "http://me:sesame@127.0.0.1:7070"
    file = tmp_path / "settings.yaml"
    file.write_text(f"upstream: {{url: '{url}'}}\ncomponent: '{url}'\n'{url}': 1\n")
    for ended, code in [
        (ends_at_once(["check", file]), 78),
        (ends_at_once(["serve", "--config", file]), 78),
        (ends_at_once(["serve", "--upstream-url", url]), 78),
        (ends_at_once(["serve"], EVENKEEL_UPSTREAM__URL=url), 78),
        (ends_at_once(["get", "demo/shop", "--address", url]), 2),
        (ends_at_once(["get", "demo/shop", "--address", "me:sesame@127.0.0.1:1"]), 2),
        (ends_at_once(["watch", "demo/shop"], EVENKEEL_ADDRESS=url), 2),
        (ends_at_once(["renderer", "--listen", url]), 2),
    ]:
        assert ended.returncode == code, ended
        assert "sesame" not in ended.stdout + ended.stderr, ended.args


def test_what_is_wrong_is_said_in_short_lines_without_control_characters(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(f"component: '{'x' * (3 << 20)}'\n{'y' * (1 << 20)}: 1\n")
    for ended in [
        ends_at_once(["check", file]),
        ends_at_once(["serve"], EVENKEEL_COMPONENT="a\nERROR forged\x1b[31m"),
        ends_at_once(["serve", "--component", "a\nERROR forged\x1b[31m"]),
        ends_at_once(["serve"], **{"EVENKEEL_X__\nERROR forged": "1"}),
        ends_at_once(["get", "a\nERROR forged\x1b[31m"]),
        ends_at_once(["get", "demo/shop", "--patience", "x" * 100_000]),
        ends_at_once(["a\nERROR forged\x1b[31m"]),
    ]:
        assert ended.returncode in (2, 78)
        lines = ended.stderr.splitlines()
        assert max(map(len, lines)) < 500, ended.args[1:3]
        assert not any(line.startswith("ERROR") or "\x1b" in line for line in lines), lines


def test_a_variable_near_a_fields_name_is_a_line_at_start(prepare):
    sidecar = prepare("rollout: 1\n")
    strange = {"EVENKEEL_RATE": "1", "EVENKEEL_CONFIG": "x", "EVENKEEL_SERVICE_HOST": "10.0.0.1", "EVENKEEL_PORT": "tcp://a"}
    command = [BINARY, "serve", "--config", sidecar.settings_file, "--config", sidecar.hot]
    with sidecar.open_log() as log:
        sidecar._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **strange})
    wait_until(sidecar.is_ready, within=15)
    log = sidecar.log()
    assert "EVENKEEL_RATE is ignored: did you mean EVENKEEL_ADMISSION__RATE?" in log
    assert "EVENKEEL_CONFIG is ignored: did you mean the flag --config?" in log
    assert "SERVICE_HOST" not in log and "EVENKEEL_PORT" not in log


# IPv6

WITHOUT_IPV6 = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up"


def test_lookups_and_probes_are_answered_over_ipv4_and_ipv6(prepare):
    # A cluster with IPv6 only or first probes the pod at its IPv6 address, which 0.0.0.0 refused: no pod ever started.
    sidecar = prepare("rollout: 1\n")
    lookup, telemetry = free_port(), free_port()
    sidecar.settings["lookup"]["listen"] = [f"127.0.0.1:{lookup}", f"[::1]:{lookup}"]
    sidecar.settings["telemetry"]["listen"] = f"[::]:{telemetry}"
    sidecar.edit()
    with sidecar.open_log() as log:
        sidecar._process = subprocess.Popen(sidecar.command(), stdout=log, stderr=log)
    for host in ["127.0.0.1", "[::1]"]:
        sidecar.telemetry = f"{host}:{telemetry}"
        wait_until(sidecar.is_ready, within=15)
        sidecar.address = f"{host}:{lookup}"
        assert sidecar.get("demo/shop").payload
        sidecar.hang_up()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs a network namespace of its own")
def test_it_starts_with_its_defaults_where_there_is_no_ipv6(tmp_path):
    command = f"{WITHOUT_IPV6}; exec {BINARY.absolute()} serve"
    log = tmp_path / "log"
    with log.open("w") as written:
        process = subprocess.Popen(["unshare", "-n", "bash", "-ec", command], stdout=written, stderr=written)
    try:
        wait_until(lambda: "probes and metrics are served" in log.read_text() or process.poll() is not None, within=10)
        assert "lookups are answered address=127.0.0.1:7400" in log.read_text()
        assert "address=[::1]:7400" in log.read_text().split("no IPv6 on this machine")[1]
    finally:
        process.kill()
        process.wait()
