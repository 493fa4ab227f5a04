"""Which projects fail, are outdated or missing, and why: AdminService, `evenkeel projects` and `evenkeel explain` on the real binary."""

import http.client
import json
import re
import subprocess

import grpc
import pytest

from contract import AdminServiceStub, ExplainProjectRequest, ListProjectsRequest, NotRefreshed, ProjectFilter
from sidecar import BINARY, failure_of, seconds, wait_until
from test_health_reflection import reflect

SERVED = re.compile(r"operators are served address=(\S+)")

HOSTILE = "line 1\nline 2\x1b[31m red \u202e" + "x" * 400


class Operator:
    """One who asks the admin listener of a sidecar, by gRPC and by the command line."""

    def __init__(self, sidecar):
        self.address = SERVED.search(sidecar.log())[1]
        self.channel = grpc.insecure_channel(self.address, options=[("grpc.enable_http_proxy", 0)])
        self.stub = AdminServiceStub(self.channel)

    def list(self, filter="ALL", **request):
        filter = ProjectFilter.Value(f"PROJECT_FILTER_{filter}")
        return self.stub.ListProjects(ListProjectsRequest(filter=filter, **request), timeout=5)

    def names(self, filter="ALL", **request):
        return [state.project for state in self.list(filter, **request).projects]

    def explain(self, project):
        return self.stub.ExplainProject(ExplainProjectRequest(project=project), timeout=5)

    def run(self, *arguments) -> subprocess.CompletedProcess:
        command = [BINARY, *arguments, "--address", self.address]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)

    def json(self, *arguments):
        done = self.run(*arguments, "--output", "json")
        assert (done.returncode, done.stderr) == (0, ""), done
        (line,) = done.stdout.splitlines()
        return json.loads(line)


@pytest.fixture
def operated(start_sidecar):
    """Starts a sidecar that serves operators."""
    operators = []

    def start(**settings):
        sidecar = start_sidecar(admin={"listen": "127.0.0.1:0"}, **settings)
        operators.append(Operator(sidecar))
        return sidecar, operators[-1]

    yield start
    for operator in operators:
        operator.channel.close()


def reason(state):
    return NotRefreshed.Name(state.not_refreshed).removeprefix("NOT_REFRESHED_")


def gate_that_stops(explained):
    """The name of the first gate that says no, and what it goes by."""
    return next((gate.gate, gate.says) for gate in explained.gates if not gate.passes)


def test_an_operator_finds_what_fails_is_outdated_or_missing(operated, renderer):
    sidecar, operator = operated()
    for project in ("well", "poison", "late"):
        sidecar.get(project)
    renderer.fails(grpc.StatusCode.FAILED_PRECONDITION, HOSTILE, only="poison")
    renderer.stalls(only="late")
    renderer.knows_not("tpyo")
    sidecar.release(2)
    assert failure_of(sidecar.get, "tpyo").code == "NOT_FOUND"
    for project in ("well", "poison", "late"):
        sidecar.get(project, patience=1 if project == "well" else 0.2)

    failing = wait_until(lambda: operator.list("FAILING").projects)
    assert [state.project for state in failing] == ["poison"]
    assert reason(failing[0]) == "COOLING_DOWN"
    assert failing[0].failures_in_a_row >= 1
    assert (failing[0].held.rollout, failing[0].held_bytes > 0) == (1, True)
    failure = failing[0].last_failure
    assert failure.startswith(r"the render failed with FAILED_PRECONDITION: line 1\nline 2\u{1b}[31m red \u{202e}xxx")
    assert len(failure.encode()) <= 200

    outdated = operator.list("OUTDATED")
    assert sorted(state.project for state in outdated.projects) == ["late", "poison"]
    assert all(seconds(state.outdated_for) > 0 for state in outdated.projects)
    late = next(state for state in outdated.projects if state.project == "late")
    assert (late.in_flight, reason(late)) == (True, "TIMED_OUT")
    assert not operator.explain("late").gates

    missing = operator.list("MISSING")
    assert [state.project for state in missing.projects] == ["tpyo"]
    assert not missing.projects[0].HasField("held") and seconds(missing.projects[0].retry_after) > 0

    everything = operator.list("ALL")
    assert everything.total == 4
    assert everything.projects[-1].project in ("tpyo", "well"), "what is not outdated comes last"
    assert operator.list("ALL", limit=1).total == 4 and len(operator.names(limit=1)) == 1
    assert b"payload" not in everything.SerializeToString() and b'"rollout"' not in everything.SerializeToString()

    explained = operator.explain("poison")
    assert gate_that_stops(explained) == ("project", "COOLING_DOWN")
    assert [gate.gate for gate in explained.gates][-1] == "tokens"


def test_an_operator_sees_what_is_throttled_and_its_place(operated):
    sidecar, operator = operated(admission={"rate": 1000, "burst": 1000, "concurrency": 4})
    projects = [f"shop-{number}" for number in range(6)]
    sidecar.batch(projects, patience=10)
    sidecar.edit(admission={"rate": 0.01, "burst": 1})
    sidecar.release(2)
    for project in projects:
        sidecar.get(project, patience=0)
    wait_until(lambda: len(operator.names("OUTDATED")) >= 5)
    waiting = [state for state in operator.list("OUTDATED").projects if reason(state) == "THROTTLED"]
    assert len(waiting) >= 5
    assert sorted(state.place for state in waiting) == list(range(1, len(waiting) + 1))
    assert {state.of for state in waiting} == {len(waiting)}
    gate, says = gate_that_stops(operator.explain(waiting[0].project))
    assert gate == "tokens" and re.fullmatch(r"0\.\d\d tokens, at 0\.01/s", says)

    shown = operator.run("explain", waiting[0].project).stdout
    assert re.search(r"^wanted +outdated; THROTTLED; place \d of \d; in about ", shown, re.M), shown
    assert re.search(r"^ +concurrency +ok +0 of 3 renders in flight$", shown, re.M), shown
    assert re.search(r"^ +TOKENS +NO +0\.\d\d tokens, at 0\.01/s, opens in ", shown, re.M), shown


def test_the_command_line_shows_what_the_renderer_said_in_one_harmless_line(operated, renderer):
    sidecar, operator = operated()
    sidecar.get("poison")
    renderer.fails(grpc.StatusCode.INTERNAL, HOSTILE, only="poison")
    sidecar.release(2)
    sidecar.get("poison", patience=1)
    wait_until(lambda: operator.names("FAILING"))

    shown = operator.run("projects", "--failing")
    assert shown.returncode == 0, shown
    header, row, total = shown.stdout.splitlines()
    assert header.split()[:2] == ["PROJECT", "HELD"] and total == "1 of 1 failing"
    assert re.match(r"poison +1/1 +[\d.]+s +COOLING_DOWN +in [\d.]+s +\d × the render failed with INTERNAL: line 1\\nline 2", row)
    assert "\x1b" not in shown.stdout and "\u202e" not in shown.stdout

    listed = operator.json("projects", "--failing", "--limit", "1")
    assert (listed["schema"], listed["total"]) == ("evenkeel.projects/1", 1)
    assert listed["projects"][0]["last_failure"].startswith("the render failed with INTERNAL")
    explained = operator.json("explain", "poison")
    assert (explained["schema"], explained["project"]) == ("evenkeel.explain/1", "poison")
    assert [gate["gate"] for gate in explained["gates"] if not gate["passes"]][0] == "project"
    assert operator.json("projects", "--missing")["projects"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["explain", "never"], 3, "never is neither held nor wanted"),
        (["explain", "no\nproject\x1b"], 2, r"project has '\n' at byte 2: a project is 1 to 253 bytes of [A-Za-z0-9._:/-]"),
        (["projects", "--limit", "0"], 2, "0 is not in 1..=500"),
        (["projects", "--limit", "501"], 2, "501 is not in 1..=500"),
        (["projects", "--failing", "--missing"], 2, "cannot be used with"),
    ],
)
def test_what_is_wrong_with_a_question_is_an_exit_code_and_a_line(operated, arguments, code, said):
    _, operator = operated()
    done = operator.run(*arguments)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert said in done.stderr and "\x1b" not in done.stderr, done.stderr


def test_what_serves_no_operators_is_unreachable(operated):
    sidecar, operator = operated()
    operator.address = sidecar.address
    done = operator.run("projects")
    assert done.returncode == 69 and "serves no operators: see `admin.listen`" in done.stderr, done
    operator.address = "127.0.0.1:1"
    done = operator.run("explain", "shop")
    assert done.returncode == 69 and "Connection refused" in done.stderr, done


def test_a_bad_request_names_the_field_its_value_and_what_is_accepted(operated):
    _, operator = operated()
    for request, field, said in [
        ({"limit": 0}, "limit", "limit: is 0: a limit is 1 to 500"),
        ({"limit": 501}, "limit", "limit: is 501: a limit is 1 to 500"),
        ({"filter": 9}, "filter", "filter: is 9: a filter is 1 (ALL), 2 (FAILING), 3 (OUTDATED) or 4 (MISSING)"),
    ]:
        failed = failure_of(operator.stub.ListProjects, ListProjectsRequest(**request), timeout=5)
        assert (failed.code, failed.message, failed.violations) == ("INVALID_ARGUMENT", said, [field])
    failed = failure_of(operator.explain, "a\nb")
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "INVALID_PROJECT")
    assert failure_of(operator.explain, "never").code == "NOT_FOUND"


def test_reflection_knows_the_service_on_the_admin_listener_alone(operated):
    sidecar, operator = operated()
    service = "evenkeel.v1.AdminService"

    def listed(connected):
        return {it.name for it in reflect(connected, list_services="").list_services_response.service}

    assert service in listed(operator)
    assert service not in listed(sidecar)
    found = reflect(operator, file_containing_symbol=service).file_descriptor_response
    assert any(b"ExplainProject" in file for file in found.file_descriptor_proto)


def does(sidecar, code):
    """What `/status` advises, once it has that code."""

    def advice():
        connection = http.client.HTTPConnection(sidecar.telemetry, timeout=5)
        try:
            connection.request("GET", "/status", headers={"accept": "application/json"})
            said = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return said["do"] if said["code"] == code else None

    return wait_until(advice, within=10)


def command_in(advice):
    """The command that an advice names."""
    return re.search(r"`evenkeel ([^`]+)`", advice)[1].split()


def test_the_command_that_some_fail_names_lists_what_fails(operated, renderer):
    sidecar, operator = operated()
    projects = [f"shop-{number}" for number in range(20)]
    sidecar.batch(projects, patience=10)
    renderer.fails(grpc.StatusCode.INTERNAL, "line 7 is broken", only="shop-3")
    sidecar.release(2)
    for project in projects:
        sidecar.get(project, patience=2)
    command = command_in(does(sidecar, "SOME_FAIL"))
    assert command == ["projects", "--failing"]
    shown = operator.run(*command).stdout
    assert "shop-3" in shown and "line 7 is broken" in shown and shown.endswith("1 of 1 failing\n")


def test_the_command_that_unknown_names_names_lists_them(operated, renderer):
    sidecar, operator = operated()
    names = {f"tpyo-{number}" for number in range(8)}
    for name in names:
        renderer.knows_not(name)
        assert failure_of(sidecar.get, name).code == "NOT_FOUND"
    command = command_in(does(sidecar, "UNKNOWN_NAMES"))
    assert command == ["projects", "--missing"]
    assert {state["project"] for state in operator.json(*command)["projects"]} == names
