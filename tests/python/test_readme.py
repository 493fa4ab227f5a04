"""Follows the READMEs: runs their shell blocks, in a copy of what is committed, and compares what they print."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from renderer import payload_of
from sidecar import BINARY

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "deploy/README.md", "proto/README.md", "tests/bench/README.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

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


def section(title: str, page: str = "README.md") -> list[tuple[str, str]]:
    """The blocks of a section of a page: language and text."""
    body = (ROOT / page).read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    return BLOCK.findall(body)


def only(language: str, blocks: list[tuple[str, str]]) -> str:
    """The blocks of one language, as one text."""
    return "".join(text for of, text in blocks if of == language)


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
def test_the_commands_of_the_readme_print_what_it_shows(copy, environment, tmp_path):
    blocks = section("Run it") + section("Rehearse an outage", "deploy/README.md")
    commands = only("sh", blocks)
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
    said, shown = plain(text), plain(only("text", blocks))
    never = set(shown) - set(said)
    assert not never
    answers = iter(line for line in said if " evenkeel::" not in line)
    for line in (line for line in shown if " evenkeel::" not in line):
        assert line in answers, f"not in this order: {line}"


@pytest.mark.long
def test_the_demo_prints_the_rows_that_the_readme_shows(copy, environment):
    command, shown = section("Quick start")[0][1], rows((ROOT / "README.md").read_text().split("\n## Before and after\n")[1])
    running = subprocess.run(["bash", "-euc", command], cwd=copy, env=environment, capture_output=True, text=True, timeout=60)
    print(running.stderr, running.stdout)
    # A storm that is cut short may break a promise.
    assert running.returncode in (0, 1)
    printed = iter(rows(running.stdout))
    assert len(shown) == 7
    for row in shown:
        assert row in printed, f"not in this order: {row}"


def rows(text: str) -> list[str]:
    """What the rows of the first table are about, be it Markdown or drawn with lines."""
    table = re.search(r"^(?:[|│].*\n|[├╞].*\n)+", text, re.MULTILINE)[0]
    named = [re.split("[|┆]", line.strip("|│ "))[0].strip() for line in table.splitlines() if line[0] in "|│"]
    return [re.sub(r"[\d.]+", "#", name) for name in named[1:] if name.strip("-")]


def test_the_program_in_the_readme_prints_the_configuration(copy, sidecar):
    blocks = section("Call it")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    program = only("python", blocks).replace("127.0.0.1:7400", sidecar.address)
    assert len(program.splitlines()) <= 10 and sidecar.address in program
    (copy / "program.py").write_text(program)
    command = only("sh", blocks) + "python program.py"
    running = subprocess.run(["bash", "-euc", command], cwd=copy, env=environment, capture_output=True, text=True, timeout=60)
    printed = f"SERVED_RENDERED NOT_REFRESHED_UNSPECIFIED {payload_of('paperboy', 1).decode()}\n"
    assert (running.stdout, running.stderr) == (printed, "")


def test_each_block_of_commands_is_followed():
    titles = {page: re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE) for page in PAGES}
    with_commands = [(page, title) for page in PAGES for title in titles[page] if only("sh", section(title, page))]
    followed = ["Quick start", "Run it", "Call it"]
    assert with_commands == [*(("README.md", title) for title in followed), ("deploy/README.md", "Rehearse an outage")]


def test_what_needs_a_cluster_names_files_and_flags_that_exist():
    lines = [line for page in PAGES for line in only("console", BLOCK.findall((ROOT / page).read_text())).splitlines()]
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    assert len(commands) == 14
    for command in commands:
        program, *words = command.split()
        assert program in ("kubectl", "evenkeel"), command
        if program == "evenkeel":
            said = subprocess.run([BINARY, words[0], "--help"], capture_output=True, text=True, timeout=10).stdout
            assert all(f"{flag} " in said for flag in words if flag.startswith("--")), command
        named = re.findall(r"(?<= )(?:deploy|proto|tests)/\S+", command)
        assert all((ROOT / path).exists() for path in named), command


def test_the_tests_are_run_by_what_the_readme_says():
    _, (language, command) = section("Quick start")
    assert (language, command) == ("sh", "tests/run\n")
    assert os.access(ROOT / command.strip(), os.X_OK)
