"""Follows the README: runs its shell blocks, in a copy of what is committed, and compares what they print."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from sidecar import BINARY

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What differs from run to run.
VARIES = re.compile(
    r"^\S+Z +|number \d+|digest \w+…|\d[\d.]*m?s\b|generation=\d+"
    r"|(?<=\"number\":)\d+|(?<=\"digest\":)\"\w+…?\"|(?<=\"rendered_at\":)\"[^\"]+\"|(?<=_seconds\":)[\d.]+"
)

# Stands in for cargo, with the binary that is built, and the renderer on an address of this test. Any other use fails.
CARGO = """#!/bin/sh
case "$*" in
"build --release") exit ;;
"run --release -- "*) shift 3 ;;
"run --quiet --release -- "*) shift 4 ;;
*) exit 101 ;;
esac
[ "$1" = renderer ] && set -- "$@" --listen "$HOST:7070"
[ "$1" = demo ] && set -- "$@" --quick
exec "$EVENKEEL_BIN" "$@"
"""


def section(title: str) -> list[tuple[str, str]]:
    """The blocks of a section of the README: language and text."""
    readme = (ROOT / "README.md").read_text()
    body = readme.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return BLOCK.findall(body)


def plain(text: str) -> list[str]:
    return [VARIES.sub("#", line.strip()).removeprefix("#") for line in text.splitlines()]


@pytest.fixture
def copy(tmp_path):
    """A copy of what is committed, or about to be."""
    folder = tmp_path / "evenkeel"
    listed = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture
def environment(tmp_path):
    """Variables with which the README's commands find the stand-in for cargo, and addresses of their own."""
    cargo = tmp_path / "bin/cargo"
    cargo.parent.mkdir()
    cargo.write_text(CARGO)
    cargo.chmod(0o755)
    # The ports stay those of the README; the host is one of the loopback's many.
    host = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
    return {
        **os.environ,
        "PATH": f"{cargo.parent}:{os.environ['PATH']}",
        "EVENKEEL_BIN": str(BINARY.resolve()),
        "HOST": host,
        "EVENKEEL_UPSTREAM__URL": f"http://{host}:7070",
        "EVENKEEL_LOOKUP__LISTEN": f"{host}:7400",
        "EVENKEEL_TELEMETRY__LISTEN": f"{host}:7402",
        "EVENKEEL_ADDRESS": f"{host}:7400",
    }


@pytest.mark.long
def test_whoever_copies_the_commands_sees_what_the_readme_shows(copy, environment, tmp_path):
    blocks = section("Run it")
    commands = "".join(text for language, text in blocks if language == "sh")
    assert "/tmp/evenkeel.yaml" in commands
    commands = commands.replace("/tmp/evenkeel.yaml", str(tmp_path / "evenkeel.yaml"))
    with (tmp_path / "said").open("w+") as said:
        shell = subprocess.Popen(
            ["bash", "-eu", "-o", "pipefail", "-c", f"{commands}\nkill $sidecar $renderer\nwait $sidecar"],
            cwd=copy,
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
        said.seek(0)
        text = said.read()
    print(text)
    assert code == 0
    said, shown = plain(text), plain("".join(text for language, text in blocks if language == "text"))
    never = set(shown) - set(said)
    assert not never
    answers = iter(line for line in said if " evenkeel::" not in line)
    for line in (line for line in shown if " evenkeel::" not in line):
        assert line in answers, f"not in this order: {line}"


@pytest.mark.long
def test_the_demo_prints_what_the_readme_shows(copy, environment):
    (_, command), (_, shown) = section("See it")
    running = subprocess.run(["bash", "-euc", command], cwd=copy, env=environment, capture_output=True, text=True, timeout=60)
    print(running.stderr, running.stdout)
    # A storm that is cut short may break a promise, and knows other reasons.
    assert running.returncode in (0, 1)
    assert report(running.stdout) == report(shown)


def report(text: str) -> list[str]:
    """The rows of a demo's table but for the reasons, and the promises."""
    rows = [line.split("┆")[0].strip("│ ") for line in text.splitlines() if line.startswith("│")]
    promises = re.findall(r"^(?:kept  |BROKEN) (\w+):", text, re.MULTILINE)
    return [re.sub(r"[\d.]+", "#", row) for row in rows if not row.startswith("outdated: ")] + promises


def test_each_block_of_commands_is_followed():
    readme = (ROOT / "README.md").read_text()
    with_commands = [title for title in re.findall(r"^## (.+)$", readme, re.MULTILINE) if "sh" in dict(section(title))]
    assert with_commands == ["See it", "Test it", "Run it"]


def test_the_tests_are_run_by_what_the_readme_says():
    (language, command), *_ = section("Test it")
    assert (language, command) == ("sh", "tests/run\n")
    assert os.access(ROOT / command.strip(), os.X_OK)
