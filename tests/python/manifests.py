"""What deploy/ renders to: the golden files, and the objects in them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/deploy/golden"

# Each golden file, and what is rendered into it.
SOURCES = {
    "example": ROOT / "deploy/kustomize/example",
    "kinds": ROOT / "tests/deploy/kinds",
    "others": ROOT / "tests/deploy/others",
}

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


def kubectl() -> str:
    """The kubectl to render with, of the Python environment first; fails when there is none, or it knows no components."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = shutil.which(os.environ.get("KUBECTL", "kubectl"), path=folders)
    if command is None:
        pytest.fail("there is no kubectl: run tests/run once, which installs it, or name one with KUBECTL")
    said = subprocess.run([command, "version", "--client", "-o", "json"], capture_output=True, text=True)
    version = json.loads(said.stdout or "{}").get("kustomizeVersion", "unknown")
    if not version.removeprefix("v").split(".")[0].isdigit() or int(version.removeprefix("v").split(".")[0]) < 5:
        pytest.fail(f"{command} carries kustomize {version}: components need 5, which is in kubectl 1.27; name one with KUBECTL")
    return command


def render(name: str) -> str:
    said = subprocess.run([kubectl(), "kustomize", SOURCES[name]], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert not said.stderr, "kustomize warns"
    return said.stdout


def objects(name: str) -> list[dict]:
    """The objects of a golden file."""
    return list(yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text()))


def of_kind(name: str, *kinds: str) -> list[dict]:
    return [object for object in objects(name) if object["kind"] in kinds]


def only(found: list[dict]) -> dict:
    (one,) = found
    return one


def template(workload: dict) -> dict:
    return workload["spec"]["template"]


def containers(workload: dict) -> list[dict]:
    pod = template(workload)["spec"]
    return pod.get("initContainers", []) + pod["containers"]


def container(workload: dict, name: str) -> dict:
    return only([container for container in containers(workload) if container["name"] == name])


def flags(container: dict) -> dict[str, str]:
    """The flags of a container that are given once, without their dashes."""
    return dict(argument.removeprefix("--").split("=", 1) for argument in container["args"] if "=" in argument)


def with_sidecar(name: str) -> list[dict]:
    return [one for one in of_kind(name, *WORKLOADS) if one["metadata"].get("labels", {}).get("evenkeel.dev/sidecar") == "enabled"]


def volumes(workload: dict) -> dict[str, dict]:
    return {volume["name"]: volume for volume in template(workload)["spec"].get("volumes", [])}


def config_maps(name: str) -> dict[tuple[str, str], dict]:
    return {(one["metadata"]["namespace"], one["metadata"]["name"]): one["data"] for one in of_kind(name, "ConfigMap")}


def mounted_settings(name: str, workload: dict, folder: Path) -> None:
    """Writes what kubelet would mount for evenkeel, below a folder."""
    maps, namespace = config_maps(name), workload["metadata"]["namespace"]
    for mount in container(workload, "evenkeel")["volumeMounts"]:
        place = folder / mount["mountPath"].lstrip("/")
        place.mkdir(parents=True)
        source = volumes(workload)[mount["name"]].get("configMap")
        if source:
            for file, text in maps[namespace, source["name"]].items():
                (place / file).write_text(text)


def defaults() -> dict:
    return yaml.safe_load((ROOT / "deploy/settings.yaml").read_text())


def seconds(text: str) -> float:
    """A duration as the settings write it."""
    for unit, length in (("ms", 0.001), ("s", 1), ("m", 60)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * length
    raise ValueError(text)


def mebibytes(text: str) -> int:
    return int(text.removesuffix("B").removesuffix("Mi"))


def cores(text: str) -> float:
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)
