"""`evenkeel demo` as a command; what it measures is tested in Rust, and tests/long/demo runs it whole."""

import subprocess

from sidecar import BINARY


def demo(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, "demo", *arguments], capture_output=True, text=True, timeout=60)


def test_a_picture_that_cannot_be_written_is_refused_before_the_storms(tmp_path):
    picture = tmp_path / "nowhere/storm.svg"
    ended = demo("--svg", picture)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"evenkeel: cannot write --svg {picture}: No such file or directory (os error 2)\n"
