"""What an operator does to a running sidecar: probe it, change its settings, end it."""

import http.client
import re
import shutil
import signal
import subprocess

import grpc
import prometheus_client.openmetrics.parser
import prometheus_client.parser
import pytest

from contract import GetConfigRequest
from sidecar import BINARY, failure_of, reason, served, wait_until

SCARCE = {"rate": 0.01, "burst": 1}


# Probes and metrics


def test_a_sidecar_that_is_ready_answers_its_first_lookup(sidecar):
    assert sidecar.get("demo/shop").payload


def test_it_is_alive_before_it_is_ready(renderer, start_sidecar):
    renderer.stop()
    sidecar = start_sidecar(start={"grace": "1s"})
    assert sidecar.http("/livez")[0] == 200
    assert sidecar.is_ready(), "the grace of the start is over"


def test_what_happened_is_counted(sidecar, renderer):
    sidecar.get("demo/shop")
    sidecar.get("demo/shop")
    status, text = sidecar.http("/metrics")
    assert status == 200
    assert sidecar.metric("lookups_total", served="fresh") == 1
    assert sidecar.metric("lookups_total", served="rendered") == 1
    assert sidecar.metric("renders_total") == len(renderer.renders()) == 1
    assert "demo/shop" not in text, "no project is a label"


OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CLASSIC = "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    "accept, content_type",
    [
        (None, CLASSIC),
        ("text/plain;version=0.0.4", CLASSIC),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPEN_METRICS),
    ],
)
def test_parsers_take_the_metrics_in_the_text_that_they_ask_for(sidecar, accept, content_type):
    sidecar.get("demo/shop")
    connection = http.client.HTTPConnection(sidecar.telemetry, timeout=5)
    connection.request("GET", "/metrics", headers={"accept": accept} if accept else {})
    response = connection.getresponse()
    assert response.headers["content-type"] == content_type
    text = response.read().decode()
    parsers = {CLASSIC: prometheus_client.parser, OPEN_METRICS: prometheus_client.openmetrics.parser}
    families = {family.name: family for family in parsers[content_type].text_string_to_metric_families(text)}
    assert families["evenkeel_lookups"].type == "counter"
    assert families["evenkeel_render_duration_seconds"].type == "histogram"
    assert families["process_resident_memory_bytes"].samples[0].value > 1 << 20
    builds = families["evenkeel_build" if content_type == OPEN_METRICS else "evenkeel_build_info"]
    assert builds.samples[0].name == "evenkeel_build_info"
    if content_type == CLASSIC and (promtool := shutil.which("promtool")):
        checked = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_it_is_degraded_exactly_while_the_renderer_cannot_be_used(start_sidecar, renderer):
    sidecar = start_sidecar(admission={"rate": 100, "burst": 100})
    wait_until(lambda: sidecar.metric("connected") == 1)
    projects = [f"demo/{n}" for n in range(20)]
    sidecar.batch(projects, patience=5)
    assert sidecar.metric("degraded") == 0

    sidecar.write_settings("rollout: nonsense")
    wait_until(lambda: sidecar.metric("settings_valid") == 0)
    assert sidecar.metric("degraded") == 0, "bad settings are no fault of the renderer"
    sidecar.release(1)
    wait_until(lambda: sidecar.metric("settings_valid") == 1)

    renderer.fails(grpc.StatusCode.UNAVAILABLE)
    sidecar.release(2)
    wait_until(lambda: sidecar.batch(projects) and sidecar.metric("breaker_open") == 1)
    assert (sidecar.metric("degraded"), sidecar.metric("connected")) == (1, 1)
    renderer.answers()
    wait_until(lambda: sidecar.batch(projects) and sidecar.metric("breaker_open") == 0, within=30)
    assert sidecar.metric("degraded") == 0

    renderer.stop()
    wait_until(lambda: sidecar.metric("connected") == 0)
    assert sidecar.metric("degraded") == 1


def test_a_status_message_neither_forges_a_line_nor_commands_a_terminal(sidecar, renderer):
    sidecar.get("demo/shop")
    forged = "no\r\n2026-11-26T00:00:00.000000Z  INFO evenkeel: all is well\x1b[2J\u202e\u2028" + "!" * 5_000
    renderer.fails(grpc.StatusCode.FAILED_PRECONDITION, forged)
    sidecar.release(2)
    wait_until(lambda: sidecar.get("demo/shop") and "renders are failing" in sidecar.log())
    (line,) = [line for line in sidecar.log().split("\n") if "renders are failing" in line]
    assert "\\r\\n2026" in line and "\\u{1b}[2J\\u{202e}\\u{2028}!!!" in line
    assert len(line) < 600
    assert "\x1b" not in sidecar.log() and "\nall is well" not in sidecar.log()


# Settings


def test_a_higher_rate_is_taken_on_sighup(start_sidecar):
    sidecar = start_sidecar(admission=SCARCE)
    sidecar.get("demo/shop")
    sidecar.release(2)
    assert reason(sidecar.get("demo/shop")) == "THROTTLED"
    sidecar.edit(admission={"rate": 100})
    sidecar.signal(signal.SIGHUP)
    wait_until(lambda: served(sidecar.get("demo/shop")) == "FRESH")


def renamed(file, text):
    new = file.with_name("settings.new")
    new.write_text(text)
    new.replace(file)


def rewritten_in_place(file, text):
    file.write_text(text)


def deleted_and_created(file, text):
    file.unlink()
    file.write_text(text)


def swapped_as_a_config_map(file, text):
    """Puts the file behind `..data`, and swaps that, as the kubelet does."""
    for version, content in (("..1", file.read_text()), ("..2", text)):
        folder = file.with_name(version)
        folder.mkdir()
        (folder / file.name).write_text(content)
        link(file.with_name("..data"), folder.name)
        link(file, f"..data/{file.name}")


def link(place, target):
    new = place.with_name("link")
    new.symlink_to(target)
    new.replace(place)


@pytest.mark.parametrize("replace", [renamed, rewritten_in_place, deleted_and_created, swapped_as_a_config_map])
def test_a_file_that_is_replaced_is_taken_once_without_a_signal(sidecar, replace):
    # ratelimit#379, istio#34890, limitador#95
    sidecar.get("demo/shop")
    replace(sidecar.settings_file, sidecar.settings_file.read_text().replace('"rollout": 1', '"rollout": 2'))
    wait_until(lambda: sidecar.get("demo/shop", patience=0).revision.rollout == 2, within=2.5)
    sidecar.signal(signal.SIGHUP)
    wait_until(lambda: "settings read, nothing changed" in sidecar.log())
    (reloaded,) = re.findall(r"settings reloaded: .*hash=(\w+)", sidecar.log())
    assert sidecar.metric("settings_info", hash=reloaded) == 1


@pytest.mark.parametrize("bad", ["", "\n", "rollout: [", "admission: {rate: -1}", "speed: 9"])
def test_a_bad_settings_file_changes_nothing(sidecar, renderer, bad):
    sidecar.get("demo/shop")
    assert sidecar.metric("settings_valid") == 1
    sidecar.write_settings(bad)
    sidecar.signal(signal.SIGHUP)
    wait_until(lambda: sidecar.metric("settings_valid") == 0)
    assert sidecar.metric("target_rollout") == 1
    assert served(sidecar.get("demo/shop")) == "FRESH"
    assert sidecar.get("demo/other").payload, "the limits in force stay"

    sidecar.release(2)
    assert sidecar.metric("settings_valid") == 1


BAD_SETTINGS = {
    "an unknown field": ("upstream:\n  speed: 9\n", 2, "speed"),
    "a negative rate": ("upstream:\n  fetch:\n    rate: -1\n", 3, "rate"),
    "a lookup address that is not loopback": ('rollout: 1\nlookup:\n  listen: ["0.0.0.0:7400"]\n', 3, "listen"),
}


@pytest.mark.parametrize("command", ["serve --config", "check"])
@pytest.mark.parametrize("text, line, field", BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings_are_refused_with_their_place(tmp_path, command, text, line, field):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    ended = subprocess.run([BINARY, *command.split(), file], capture_output=True, text=True, timeout=10)
    assert ended.returncode == 78
    said = ended.stdout + ended.stderr
    assert f"{file}:{line}" in said
    assert field in said


def test_good_settings_are_found_good(sidecar):
    assert subprocess.run([BINARY, "check", sidecar.settings_file], timeout=10).returncode == 0


# The end


def test_a_drain_answers_from_memory_until_the_applications_are_gone(start_sidecar):
    sidecar = start_sidecar(admission=SCARCE, drain={"grace": "30s"})
    sidecar.get("demo/shop")
    sidecar.release(2)
    sidecar.signal(signal.SIGTERM)
    wait_until(lambda: reason(sidecar.get("demo/shop", patience=0)) == "DRAINING")
    missing = failure_of(sidecar.get, "demo/missing", patience=0)
    assert (missing.code, missing.reason) == ("UNAVAILABLE", "DRAINING")
    assert not sidecar.is_ready()
    assert sidecar.exit_code() is None
    sidecar.hang_up()
    assert sidecar.wait_for_exit(within=5) == 0


def test_an_idle_sidecar_drains_at_once(sidecar):
    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait_for_exit(within=5) == 0


def test_a_drain_ends_watches_when_its_grace_is_over(start_sidecar):
    sidecar = start_sidecar(drain={"grace": "1s"})
    watch = sidecar.watch("demo/shop")
    next(watch)
    sidecar.signal(signal.SIGTERM)
    ended = failure_of(next, watch)
    assert (ended.code, ended.reason) == ("UNAVAILABLE", "DRAINING")
    assert sidecar.wait_for_exit(within=10) == 0


def test_a_drain_answers_waiting_lookups_when_its_grace_is_over(start_sidecar, renderer):
    sidecar = start_sidecar(drain={"grace": "1s"})
    sidecar.get("demo/shop")
    renderer.stalls()
    sidecar.release(2)
    before = len(renderer.renders())
    held, missing = (sidecar.getting(project, patience=20) for project in ("demo/shop", "demo/missing"))
    wait_until(lambda: len(renderer.renders()) == before + 2)
    sidecar.signal(signal.SIGTERM)
    assert served(held.result()) == "OUTDATED"
    failed = failure_of(missing.result)
    assert (failed.code, failed.reason) == ("UNAVAILABLE", "TIMED_OUT")
    assert failed.pushback_ms > 0
    assert sidecar.wait_for_exit(within=10) == 0


def test_a_second_signal_ends_it_at_once(start_sidecar):
    sidecar = start_sidecar(drain={"grace": "30s"})
    sidecar.get("demo/shop")
    sidecar.signal(signal.SIGTERM)
    wait_until(lambda: not sidecar.is_ready())
    sidecar.signal(signal.SIGTERM)
    sidecar.wait_for_exit(within=2)


# Traces


def test_lookups_of_sampled_traces_are_logged_when_asked_for(start_sidecar):
    sidecar = start_sidecar(log={"level": "debug"})
    sampled, other = "0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319c"
    for trace, flags in [(sampled, "01"), (other, "00"), (sampled, "01")]:
        parent = f"00-{trace}-b7ad6b7169203331-{flags}"
        sidecar.stub.GetConfig(GetConfigRequest(project="demo/shop"), metadata=[("traceparent", parent)], timeout=5)
    wait_until(lambda: sidecar.log().count(sampled) == 2)
    logged = [line for line in sidecar.log().splitlines() if "evenkeel::lookups" in line]
    assert ["outcome=Rendered" in logged[0], "outcome=Fresh" in logged[1]] == [True, True]
    assert all("demo/shop" in line for line in logged)
    assert other not in sidecar.log()


def test_the_log_level_changes_without_a_restart(start_sidecar):
    sidecar = start_sidecar(log={"level": "info"})
    trace = "0af7651916cd43dd8448eb211c80319c"

    def look_up():
        parent = f"00-{trace}-b7ad6b7169203331-01"
        sidecar.stub.GetConfig(GetConfigRequest(project="demo/shop"), metadata=[("traceparent", parent)], timeout=5)

    look_up()
    sidecar.edit(log={"level": "debug"})
    sidecar.signal(signal.SIGHUP)
    wait_until(lambda: "log.level info → debug" in sidecar.log())
    assert trace not in sidecar.log()
    wait_until(lambda: look_up() or trace in sidecar.log())

    sidecar.edit(log={"level": "warn"})
    sidecar.signal(signal.SIGHUP)
    # A lookup is logged before its answer is sent.
    wait_until(lambda: lines_of(sidecar, look_up) == 0)
    assert lines_of(sidecar, look_up) == 0


def lines_of(sidecar, act) -> int:
    """How many lines are logged while `act` runs and a second one has been answered."""
    before = sidecar.log().count("\n")
    act()
    act()
    return sidecar.log().count("\n") - before


# Sizes


def test_an_answer_of_15_mib_passes(sidecar, renderer):
    payload = bytes(range(256)) * (15 << 12)
    renderer.answers(payload=payload)
    assert sidecar.get("demo/shop").payload == payload
    assert sidecar.get("demo/shop").payload == payload


def test_a_breaker_that_opens_and_closes_is_said_once_each(sidecar, renderer):
    projects = [f"demo/{number}" for number in range(8)]
    for project in projects:
        sidecar.get(project)
    renderer.fails(grpc.StatusCode.UNAVAILABLE)
    sidecar.release(2)
    for project in projects:
        sidecar.get(project, patience=0)
    wait_until(lambda: sidecar.metric("breaker_open") == 1)
    assert sidecar.metric("rate_in_force") == 0
    renderer.answers()
    wait_until(lambda: sidecar.metric("breaker_open") == 0, within=30)
    assert 0 < sidecar.metric("rate_in_force") <= sidecar.metric("limit", setting="rate")
    log = sidecar.log()
    assert (log.count("breaker is open"), log.count("breaker is closed")) == (1, 1)


def test_a_pushback_of_everything_is_said_once_at_each_end(sidecar, renderer):
    sidecar.get("demo/shop")
    renderer.fails(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        trailers=[("grpc-retry-pushback-ms", "500"), ("evenkeel-pushback-scope", "global")],
    )
    sidecar.release(2)
    sidecar.get("demo/shop", patience=0)
    wait_until(lambda: sidecar.metric("pushed_back") == 1)
    renderer.answers()
    wait_until(lambda: sidecar.metric("pushed_back") == 0, within=30)
    log = sidecar.log()
    assert (log.count("renderer pushes back;"), log.count("pushback is over")) == (1, 1)
