"""Every command on a terminal: what people see first."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sidecar import BINARY

ROOT = Path(__file__).parents[2]

# How each command is run, the text after which it is told to stop, if it does not end by itself, and its exit code.
COMMANDS = {
    "serve": (
        ["--listen", "127.0.0.1:0", "--telemetry-listen", "127.0.0.1:0", "--upstream-url", "http://127.0.0.1:1"],
        "probes and metrics are served",
        0,
    ),
    "demo": (["--quick"], "a storm begins", 130),
    # A dead one logs that its port is closed.
    "renderer": (["--listen", "127.0.0.1:0", "--fault", "dead"], "port closed", 0),
    "get": (["demo/shop", "--address", "127.0.0.1:1"], None, 69),
    "watch": (["demo/shop", "--address", "127.0.0.1:1"], "waiting for the sidecar", 0),
    "status": (["127.0.0.1:1"], None, 69),
    "projects": (["--address", "127.0.0.1:1"], None, 69),
    "explain": (["demo/shop", "--address", "127.0.0.1:1"], None, 69),
    "purge": (["demo/shop", "--address", "127.0.0.1:1"], None, 69),
    "disk": (["ls", "deploy"], None, 0),
    "plan": (["--pods", "2", "--projects", "5", "--fleet-rate", "2:4", "--render-time", "100ms"], None, 0),
    "page": (["--listen", "127.0.0.1:0"], "page on http", 0),
    "check": (["deploy/settings.yaml"], None, 0),
    "drill": (["--upstream", "http://127.0.0.1:1", "--project", "shop", "--within", "100ms"], None, 69),
}
# Those that write a log, which is in colours on a terminal.
LOGGING = ["serve", "renderer"]


def subcommands():
    text = subprocess.run([BINARY, "--help"], capture_output=True, text=True, timeout=10).stdout
    listed = text.split("Commands:")[1].split("\n\n")[0]
    return set(re.findall(r"^  (\w+)", listed, re.MULTILINE)) - {"help"}


def on_a_terminal(command, **environment):
    """Runs a command on a terminal; returns what stood on it, and the exit code."""
    arguments, told_after, _ = COMMANDS[command]
    ours, its = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [BINARY.absolute(), command, *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**inherited, "TERM": "xterm", **environment},
        cwd=ROOT,
    )
    os.close(its)
    text, end = "", time.monotonic() + 60
    is_told = False
    while time.monotonic() < end:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            text += os.read(ours, 1 << 16).decode(errors="replace")
        except OSError:  # Linux says EIO once the last holder of the terminal has left.
            break
        if told_after and told_after in text and not is_told:
            is_told = True
            process.send_signal(signal.SIGTERM)
    os.close(ours)
    try:
        code = process.wait(10)
    finally:
        process.kill()
    return text, code


def test_every_command_is_tried_on_a_terminal():
    assert subcommands() == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_on_a_terminal(command):
    # serve and renderer panicked there in a debug build: tracing-subscriber lacked its feature ansi.
    text, code = on_a_terminal(command)
    assert code == COMMANDS[command][2], text
    assert "panicked" not in text and "crate feature" not in text
    if command in LOGGING:
        assert "\x1b[" in text, "the log is in colours"


@pytest.mark.parametrize("command", LOGGING)
def test_no_color_is_obeyed(command):
    text, code = on_a_terminal(command, NO_COLOR="1")
    assert code == 0
    assert "\x1b" not in text
