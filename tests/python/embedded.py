"""The embedded renderer as a process, with its switch for faults."""

import http.client
import json
import re
import shutil
import subprocess
from pathlib import Path

from sidecar import BINARY, wait_until

ROOT = Path(__file__).parents[2]

READY = re.compile(r"listening on (\S+), control on http://(\S+), (\d+) projects")


class Embedded:
    """`evenkeel renderer` on ports of its own, with a copy of the sample projects that a test may spoil."""

    def __init__(self, folder: Path, **flags):
        self.projects_folder = folder / "projects"
        shutil.copytree(ROOT / "deploy/demo/projects", self.projects_folder)
        self._flags = {
            "listen": "127.0.0.1:0",
            "control": "127.0.0.1:0",
            "projects": self.projects_folder,
            "template": ROOT / "deploy/demo/template.json.j2",
            "generate": 37,
            "workers": 8,
            "cost": "20ms",
        } | flags
        self._spoilt: dict[Path, str] = {}
        self._log = (folder / "renderer.log").open("w")
        self._start()

    def _start(self) -> None:
        arguments = [_flag(name, value) for name, value in self._flags.items()]
        self.process = subprocess.Popen(
            [BINARY, "renderer", *arguments], stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        line = self.process.stdout.readline()
        ready = READY.search(line)
        assert ready, f"the renderer does not start: {line!r}"
        self.address, self._control = ready[1], ready[2]

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def projects(self) -> list[str]:
        return json.loads(self._call("GET", "/projects"))

    def renders(self) -> dict:
        """Its journal: how many it was asked for, and of which projects."""
        return json.loads(self._call("GET", "/renders"))

    def fault(self, name: str) -> None:
        self._call("POST", "/fault", name)

    def well(self) -> None:
        self._call("DELETE", "/fault")

    def release(self, rollout: int) -> None:
        self._call("POST", "/rollout", str(rollout))

    def restart(self) -> None:
        """Ends it at once, and starts it anew, well and on the same address."""
        rollout = self._call("GET", "/rollout").strip()
        self.stop()
        self._flags |= {"listen": self.address, "rollout": rollout}
        self._start()

    def spoil(self, project: str) -> None:
        """Makes the settings of a project unfit to be rendered."""
        file = self.projects_folder / f"{project}.yaml"
        self._spoilt[file] = file.read_text()
        _replace(file, "title: [\n")

    def repair(self) -> None:
        """Puts back what was spoilt."""
        while self._spoilt:
            _replace(*self._spoilt.popitem())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def _call(self, method: str, path: str, body: str = "") -> str:
        host, _, port = self._control.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = response.read().decode()
            assert response.status == 200, answer
            return answer
        finally:
            connection.close()


def _flag(name: str, value) -> str:
    name = "--" + name.replace("_", "-")
    return name if value is True else f"{name}={value}"


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)
