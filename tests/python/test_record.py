"""`evenkeel serve --record`: what is written, where it ends, and that lookups do not care."""

import json
import signal
import subprocess

from contract import Served
from sidecar import BINARY, wait_until

PROJECTS = [f"canary-{number}" for number in range(5)]


def lines_of(folder):
    (file,) = folder.glob("evenkeel-*.jsonl")
    return file, [json.loads(line) for line in file.read_text().splitlines()]


def facts(lines, name):
    return [line[name] for line in lines if name in line]


def test_a_record_has_what_happened_and_no_name(start_sidecar, tmp_path):
    sidecar = start_sidecar(record=["--record", tmp_path], admission={"rate": 7})
    sidecar.batch(PROJECTS, patience=10)
    sidecar.release(2)
    wait_until(lambda: all(sidecar.get(project).revision.rollout == 2 for project in PROJECTS))
    for _ in range(20):
        assert sidecar.get(PROJECTS[0]).served == Served.SERVED_FRESH
    sidecar.edit(admission={"rate": 9})
    sidecar.signal(signal.SIGHUP)
    wait_until(lambda: sidecar.metric("limit", setting="rate") == 9)
    sidecar.hang_up()
    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait_for_exit(within=10) == 0

    file, lines = lines_of(tmp_path)
    head = lines[0]
    assert (head["schema"], head["target"], head["limits"]["rate"]) == ("evenkeel.record/1", 1, 7)
    assert file.stat().st_mode & 0o777 == 0o600
    assert "canary" not in file.read_text()
    assert [project["number"] for project in facts(lines, "project")] == [0, 1, 2, 3, 4]
    assert len({project["hash"] for project in facts(lines, "project")}) == 5
    assert facts(lines[1:], "target") == [2]
    assert facts(lines, "limits")[-1]["rate"] == 9
    renders = facts(lines, "rendered")
    assert len([render for render in renders if render["asked"] == 2]) == 5
    assert all(render["took"] < 5 and "held" in render["got"] for render in renders)
    looked_up = [dict(zip(of[::2], of[1::2], strict=True)) for of in (it["of"] for it in facts(lines, "lookups"))]
    assert {project for lookups in looked_up for project in lookups} == {0, 1, 2, 3, 4}
    counts = [sum(lookups.get(project, 0) for lookups in looked_up) for project in range(5)]
    # Fresh ones count, too: twenty of one project.
    assert min(counts) >= 2 and max(counts) >= min(counts) + 20


def test_two_records_hash_the_same_project_differently(start_sidecar, tmp_path):
    hashes = set()
    for name in ["one", "other"]:
        folder = tmp_path / name
        folder.mkdir()
        start_sidecar(record=["--record", folder]).get(PROJECTS[0], patience=5)
        wait_until(lambda folder=folder: facts(lines_of(folder)[1], "project"))
        hashes.add(facts(lines_of(folder)[1], "project")[0]["hash"])
    assert len(hashes) == 2


def test_a_full_record_ends_and_lookups_go_on(start_sidecar, tmp_path):
    sidecar = start_sidecar(record=["--record", tmp_path, "--record-max", "4KiB"])
    names = [f"canary-{number}" for number in range(100)]
    sidecar.batch(names, patience=10)
    wait_until(lambda: "record is full; recording stops" in sidecar.log())
    assert all(result.answer.revision.rollout == 1 for result in sidecar.batch(names))
    assert sidecar.log().count("recording stops") == 1
    file, lines = lines_of(tmp_path)
    assert file.stat().st_size <= 4096 and "full" in lines[-1]


def test_a_folder_that_takes_no_record_is_said_at_the_start(sidecar, tmp_path):
    none = tmp_path / "none"
    done = subprocess.run(
        [BINARY, "serve", "--config", sidecar.settings_file, "--record", none], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 1
    assert f"--record {none}" in done.stdout + done.stderr and "No such file" in done.stdout + done.stderr
