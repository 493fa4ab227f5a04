"""What stands around the code: checks of commits and of the contract, and what the forge runs and proposes."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


class Repository:
    """A repository of a test's own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.git("init", "-q", "-b", "main")

    def run(self, *command) -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def git(self, *arguments) -> str:
        done = self.run("git", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, subject: str) -> str:
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    @property
    def environment(self) -> dict:
        names = {f"GIT_{role}_{what}": "test@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        return {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", **names}


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


def test_a_subject_of_more_than_72_characters_is_rejected(repository):
    repository.commit("S" * 72)
    assert repository.run(ROOT / ".ci/subjects").returncode == 0
    long = repository.commit("L" * 73)
    rejected = repository.run(ROOT / ".ci/subjects")
    assert rejected.returncode == 1
    assert f"{long[:7]} {'L' * 73}" in rejected.stderr
    repository.commit("Short")
    assert repository.run(ROOT / ".ci/subjects", "1").returncode == 0, "only the newest are looked at"


def test_the_contract_is_compared_with_the_last_release_else_with_the_main_branch(repository):
    def released() -> str:
        printed = repository.run(ROOT / ".ci/released")
        assert printed.returncode == 0, printed.stderr
        return printed.stdout.strip()

    first = repository.commit("One")
    assert repository.run(ROOT / ".ci/released").returncode == 1, "there is nothing before the first commit"
    second = repository.commit("Two")
    assert released() == first, "on the main branch, the commit before"
    repository.git("switch", "-q", "-c", "topic")
    repository.commit("Three")
    repository.commit("Four")
    assert released() == second, "on a branch, where it left the main branch"
    repository.git("tag", "-a", "-m", "0.1.0", "v0.1.0", first)
    assert released() == first, "the last release"


def test_the_forge_runs_what_a_desk_runs():
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    assert job["steps"][-1]["run"] == ".ci/run"
    assert job["steps"][0]["with"]["fetch-depth"] == 0


def test_newer_versions_are_proposed_for_every_list_of_dependencies():
    listed = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = {"Cargo.toml": "cargo", "requirements.txt": "pip", "package.json": "npm", "go.mod": "gomod"}
    files = [Path("/", line) for line in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines()]
    wanted = {(names[file.name], str(file.parent)) for file in files if file.name in names}
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    proposed = {(it["package-ecosystem"], folder) for it in updates for folder in it.get("directories", [it.get("directory")])}
    assert proposed == wanted | {("github-actions", "/")}
