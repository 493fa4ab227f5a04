"""`evenkeel plan`: from a real sidecar and from flags alone, as a table, as JSON and as a picture."""

import json
import subprocess
import xml.etree.ElementTree

from sidecar import BINARY

PROJECTS = [f"shop-{number}" for number in range(30)]
FLAGS = ["--pods", "20", "--projects", "30", "--render-time", "100ms"]


def plan(*arguments, within=60):
    done = subprocess.run([BINARY, "plan", *map(str, arguments)], capture_output=True, text=True, timeout=within)
    return done.returncode, done.stdout, done.stderr


def test_a_plan_from_a_sidecar_compares_what_it_has_with_the_change(start_sidecar):
    sidecar = start_sidecar(admission={"rate": 20, "burst": 3})
    sidecar.batch(PROJECTS, patience=10)
    code, line, said = plan(sidecar.telemetry, "--rate", 2, "--outage", "10s", "--output", "json")
    assert (code, said) == (0, "")
    planned = json.loads(line)
    before, after = planned["before"], planned["after"]
    assert planned["schema"] == "evenkeel.plan/1"
    assert (before["pods"], before["projects"], before["rate"], before["burst"]) == (1, 30, 20, 3)
    assert (after["rate"], after["outage_seconds"], after["burst"]) == (2, 10, 3)
    assert before["outage_seconds"] == 0 and before["render_seconds"] > 0
    assert before["fresh_after_seconds"] < 13 < 20 < after["fresh_after_seconds"]
    assert planned["notes"], "the renderers' cores are not known"


def test_a_plan_from_flags_alone_is_a_table_and_a_picture(tmp_path):
    picture = tmp_path / "plan.svg"
    code, table, said = plan(*FLAGS, "--fleet-rate", "20:40", "--renderers", 8, "--svg", picture)
    assert (code, said) == (0, "")
    for words in ["before", "after", "all fresh after", "most in any second", "cores busy on average", "20 × 30"]:
        assert words in table, table
    drawn = xml.etree.ElementTree.parse(picture).getroot()
    texts = "".join(drawn.itertext())
    assert "before: 20 pods at 20/s" in texts and "after: 20 pods at 40/s" in texts and "cores: 8" in texts


def test_what_cannot_be_planned_ends_with_its_exit_code(tmp_path):
    code, _, said = plan("127.0.0.1:1", "--rate", 5)
    assert code == 69 and "no sidecar answered" in said
    code, _, said = plan(*FLAGS, "--rate", 0)
    assert code == 2 and "--rate 0: expected more than 0" in said
    code, _, said = plan("--rate", 5)
    assert code == 2 and "--pods is missing" in said
    code, _, said = plan(*FLAGS, "--svg", tmp_path / "none" / "plan.svg")
    assert code == 1 and "cannot write --svg" in said
