"""`evenkeel watch`: every change as it arrives, over restarts of the sidecar."""

import fcntl
import json
import mmap
import signal
import socket
import struct
import subprocess
import termios
import threading

import pytest

from renderer import payload_of
from sidecar import BINARY, wait_until

UNREACHABLE = 69


class Watch:
    """A running `evenkeel watch`, and what it said so far."""

    def __init__(self, address, *arguments):
        command = [BINARY, "watch", "--address", address, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.printed, self.complained = [], []
        self._readers = [
            threading.Thread(target=lines.extend, args=(pipe,))
            for lines, pipe in ((self.printed, self.process.stdout), (self.complained, self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def ends(self) -> int:
        code = self.process.wait(10)
        for reader in self._readers:
            reader.join()
        return code


@pytest.fixture
def watch():
    started = []

    def start(*arguments) -> Watch:
        started.append(Watch(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.ends()
        print(f"--- printed\n{''.join(one.printed)}--- complained\n{''.join(one.complained)}")


def unread(pipe) -> int:
    """How many bytes lie in it."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def heads(lines) -> list[str]:
    """The lines up to their number."""
    return sorted(line.split(" number ")[0] for line in lines)


def test_it_prints_the_first_answer_and_each_change_until_it_is_interrupted(sidecar, watch):
    watching = watch(sidecar.address, "demo/a", "demo/b", "demo/a")
    wait_until(lambda: len(watching.printed) == 2)
    sidecar.release(2)
    wait_until(lambda: len(watching.printed) == 4)
    assert sidecar.metric("lookup_connections") == 1
    watching.process.send_signal(signal.SIGINT)
    assert watching.ends() == 0
    assert watching.complained == []
    assert heads(watching.printed[:2]) == ["RENDERED demo/a rollout 1", "RENDERED demo/b rollout 1"]
    assert [line.split()[1:4] for line in sorted(watching.printed[2:], key=lambda line: line.split()[1])] == [
        ["demo/a", "rollout", "2"],
        ["demo/b", "rollout", "2"],
    ]


def test_it_ends_when_its_pod_does(sidecar, watch):
    watching = watch(sidecar.address, "demo/shop")
    wait_until(lambda: watching.printed)
    watching.process.send_signal(signal.SIGTERM)
    assert watching.ends() == 0
    assert watching.complained == []


def test_it_can_be_interrupted_while_its_output_is_not_read(sidecar, renderer):
    renderer.answers(payload=b"x" * (1 << 20))
    command = [BINARY, "watch", "--address", sidecar.address, "--output", "json", "demo/shop"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as watching:
        # The first page of the pipe has what came before the payload.
        full = fcntl.fcntl(watching.stdout, fcntl.F_GETPIPE_SZ) - mmap.PAGESIZE
        wait_until(lambda: unread(watching.stdout) > full)
        watching.send_signal(signal.SIGINT)
        try:
            assert watching.wait(10) == 0
        finally:
            watching.kill()


def test_it_prints_json_lines_with_the_payload_and_failures_too(sidecar, renderer, watch):
    renderer.knows_not("demo/nobody")
    watching = watch(sidecar.address, "--output", "json", "demo/shop", "demo/nobody")
    wait_until(lambda: len(watching.printed) == 2)
    shown = {line["project"]: line for line in map(json.loads, watching.printed)}
    assert shown["demo/shop"]["payload"] == json.loads(payload_of("demo/shop", 1))
    assert (shown["demo/nobody"]["code"], shown["demo/nobody"]["reason"]) == ("NOT_FOUND", "PROJECT_NOT_FOUND")


def test_a_restart_of_the_sidecar_is_survived_and_repeats_nothing(sidecar, watch):
    watching = watch(sidecar.address, "demo/a", "demo/b")
    wait_until(lambda: len(watching.printed) == 2)
    address = sidecar.address
    sidecar.stop()
    wait_until(lambda: watching.complained)
    # The same port again, and a log of its own start alone.
    sidecar.log_file.write_text("")
    sidecar.edit(lookup={"listen": [address]})
    sidecar.start()
    wait_until(lambda: len(watching.complained) == 2, within=10)
    sidecar.release(2)
    wait_until(lambda: len(watching.printed) == 4)
    watching.process.send_signal(signal.SIGINT)
    assert watching.ends() == 0
    assert [" rollout 2 " in line for line in watching.printed] == [False, False, True, True]
    broke, healed = watching.complained
    assert broke.endswith("; waiting for the sidecar\n")
    assert healed == f"evenkeel: the sidecar at {address} answers\n"


def test_a_payload_that_did_not_change_over_the_restart_is_not_sent_again(sidecar, renderer, watch):
    renderer.answers(payload=b'{"same": true}')
    watching = watch(sidecar.address, "--output", "json", "demo/shop")
    wait_until(lambda: watching.printed)
    address = sidecar.address
    sidecar.stop()
    wait_until(lambda: watching.complained)
    sidecar.log_file.write_text("")
    sidecar.edit(rollout=2, lookup={"listen": [address]})
    sidecar.start()
    wait_until(lambda: len(watching.printed) == 2, within=10)
    again = json.loads(watching.printed[1])
    assert (again["rollout"], again["not_modified"], again["payload"]) == (2, True, None)


def test_it_waits_for_a_sidecar_that_is_not_there_yet(watch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        watching = watch("{}:{}".format(*nobody.getsockname()), "demo/shop")
        wait_until(lambda: watching.complained)
        watching.process.send_signal(signal.SIGINT)
        assert watching.ends() == 0
    assert len(watching.complained) == 1
    assert watching.complained[0].startswith("evenkeel: no sidecar answers at 127.0.0.1:")


def test_it_ends_quietly_when_its_reader_has_left(sidecar):
    command = f'{BINARY} watch --address {sidecar.address} demo/shop | head -n 1; echo "${{PIPESTATUS[0]}}"'
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20)
    line, code = ended.stdout.splitlines()
    assert line.startswith("RENDERED demo/shop rollout 1 ")
    assert (code, ended.stderr) == ("0", "")


def test_it_ends_when_what_answers_is_no_sidecar(renderer, watch):
    watching = watch(f"127.0.0.1:{renderer.port}", "demo/shop")
    assert watching.ends() == UNREACHABLE
    assert watching.complained == [f"evenkeel: what answers at 127.0.0.1:{renderer.port} is no sidecar\n"]
