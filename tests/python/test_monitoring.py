"""What deploy/monitoring tells an operator: that alerts fire when they should, and that everything they ask for exists."""

import contextlib
import json
import math
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import grpc
import kubernetes_validate
import pytest
import yaml

import manifests
from manifests import ROOT
from sidecar import BINARY, Sidecar, wait_until

MONITORING = ROOT / "deploy/monitoring"
RULES = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
CASES = yaml.safe_load((ROOT / "tests/deploy/alerts.yaml").read_text())
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
README = (ROOT / "deploy/README.md").read_text()

# The codes of `evenkeel status`. Those in HARMLESS ask for nothing.
CODES = set(
    "SETTINGS_BAD STOPPED UNREACHABLE APART OVERLOADED FAILING HANGING BEHIND REJECTED UNKNOWN_NAMES SOME_FAIL CACHE_TOO_SMALL SLOW"
    " CONCURRENCY BUDGET".split()
)
HARMLESS = {"RECOVERING", "CONVERGING", "FRESH"}

# The most series that a sidecar may have.
SERIES = 270

METRIC = re.compile(r"\b(?:evenkeel|process|kube)_\w+")


def documented() -> set[str]:
    """The metrics of the table in deploy/README.md, as samples."""
    rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram|info) \|", README, re.MULTILINE)
    assert len(rows) > 30
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    return {name + suffix for name, kind in rows for suffix in suffixes.get(kind, ("",))}


def resolved(expression: str) -> str:
    """An expression of the dashboard as Grafana sends it, with all namespaces chosen."""
    return expression.replace("$__rate_interval", "2m").replace("$namespace", ".*")


def asked() -> dict[str, str]:
    """What the dashboard asks Prometheus, by what shows the answer."""
    shown = {(panel["title"], target["refId"]): target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    noted = {("annotation", note["name"]): note["expr"] for note in DASHBOARD["annotations"]["list"]}
    return {": ".join(place): resolved(expression) for place, expression in (shown | noted).items()}


@pytest.fixture
def promtool():
    return shutil.which("promtool") or pytest.skip("THE ALERTS ARE NOT CHECKED: promtool is missing")


def run(*command) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


# The alerts


def test_prometheus_takes_the_alerts(promtool, tmp_path):
    (tmp_path / "rules.json").write_text(json.dumps(RULES))
    assert "SUCCESS: 10 rules found" in run(promtool, "check", "rules", tmp_path / "rules.json")


def cases() -> dict[str, list[dict]]:
    """The moments that are tested, by alert."""
    moments = [moment for case in CASES["tests"] for moment in case["alert_rule_test"]]
    return {name: [moment for moment in moments if moment["alertname"] == name] for name in ALERTS}


def quiet_beside(name: str) -> set[str]:
    """The namespaces that have series in the cases of an alert, and never raise it."""
    of_alert = [case for case in CASES["tests"] if case["name"].split(",")[0] == name]
    namespaces = {found for case in of_alert for one in case["input_series"] for found in re.findall(r'namespace="(\w+)"', one["series"])}
    return namespaces - {alert["exp_labels"].get("namespace") for moment in cases()[name] for alert in moment["exp_alerts"]}


def test_each_alert_fires_and_stays_quiet(promtool, tmp_path):
    for name, moments in cases().items():
        assert any(moment["exp_alerts"] for moment in moments), f"{name} is never seen to fire"
        assert any(not moment["exp_alerts"] for moment in moments) or quiet_beside(name), f"{name} is never seen to be quiet"
    bare = {"groups": [group | {"rules": [rule | {"annotations": {}} for rule in group["rules"]]} for group in RULES["groups"]]}
    (tmp_path / "rules.json").write_text(json.dumps(bare))
    (tmp_path / "tests.json").write_text(json.dumps(CASES | {"rule_files": ["rules.json"]}))
    run(promtool, "test", "rules", tmp_path / "tests.json")


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_to_do_by_the_codes_of_the_status(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "runbook"}
    named = set(re.findall(r"\b[A-Z]{4,}(?:_[A-Z]+)*\b", rule["annotations"]["runbook"]))
    assert named & CODES
    assert named <= CODES, "an alert about what needs nothing would be noise"
    raises = re.findall(r"[Rr]aise (?!`cache|the memory)[^.]*\.", rule["annotations"]["runbook"])
    assert all("BUDGET" in sentence and "CONCURRENCY" in sentence for sentence in raises)


def runbook() -> list[list[str]]:
    """The rows of the two tables of the runbook, cell by cell."""
    rows = re.findall(r"^\| (.+) \|$", README.split("\n## Runbook\n")[1].split("\n## ")[0], re.MULTILINE)
    return [row.split(" | ") for row in rows]


def test_the_runbook_leads_from_every_code_alert_and_reason_to_an_action():
    codes = {code: row for row in runbook() if len(row) == 4 and row[0] != "code" for code in row[0].split(", ")}
    assert set(codes) == CODES | HARMLESS
    assert [code for code, row in codes.items() if "Raise `admission" in row[3]] == ["CONCURRENCY"]
    alerts = {row[0]: row[2] for row in runbook() if row[0] in ALERTS}
    assert list(alerts) == list(ALERTS)
    for name, named in alerts.items():
        said = ALERTS[name]["annotations"]["runbook"]
        assert all(code in said for code in re.findall(r"\b[A-Z]{4,}(?:_[A-Z]+)*\b", named)), f"{name} itself says something else"
    explained = re.findall(r"^\| `([A-Z_]+)` \|", README.split("\n## Reasons\n")[1], re.MULTILINE)
    assert {reason for row in codes.values() for reason in re.findall(r"`([A-Z_]+)`", row[1])} <= set(explained)


# What they ask for


def test_the_alerts_and_the_dashboard_ask_for_metrics_that_exist():
    foreign = {"kube_pod_init_container_status_restarts_total"}
    for place, expression in {**{name: rule["expr"] for name, rule in ALERTS.items()}, **asked()}.items():
        unknown = set(METRIC.findall(expression)) - documented() - foreign
        assert not unknown, f"{place} asks for {unknown}"


@pytest.mark.parametrize("label", ["result", "reason", "served", "class", "state", "setting"])
def test_the_alerts_and_the_dashboard_ask_for_labels_that_exist(start_sidecar, label):
    """A misspelt value would never match, and the alert would stay quiet for ever."""
    sidecar = start_sidecar(admission={"fleet_size": 1})
    exist = set(re.findall(rf'[{{,]{label}="([^"]*)"', sidecar.http("/metrics")[1]))
    for expression in [*(rule["expr"] for rule in ALERTS.values()), *asked().values()]:
        for text in re.findall(rf'[{{,]{label}!?[=~]{{1,2}}"([^"]*)"', expression):
            for value in set(text.split("|")):
                assert any(re.fullmatch(value, one) for one in exist), f"no {label} is {value}: {sorted(exist)}"


def test_prometheus_takes_every_expression_of_the_dashboard(promtool, tmp_path):
    rules = [{"record": f"asked:{number}", "expr": expression} for number, expression in enumerate(asked().values())]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"SUCCESS: {len(rules)} rules found" in run(promtool, "check", "rules", tmp_path / "rules.json")


def test_the_dashboard_has_twelve_panels_that_say_what_they_show():
    panels = DASHBOARD["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, 13))
    places = [panel["gridPos"] for panel in panels]
    assert places == sorted(places, key=lambda place: (place["y"], place["x"])), "they are read in the order of asking"
    covered = [(x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
    assert len(covered) == len(set(covered)) and max(x for x, _ in covered) == 23
    assert all(panel["description"] and panel["datasource"]["uid"] == "${datasource}" for panel in panels)
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "namespace"}


def test_the_sizes_in_the_readme_add_up():
    rows = re.findall(r"^\| ([\d,]+) \| (\d+) \| (\d+) \| ([\d,]+) s \| (\d+) \| ([\d,]+) \|$", README, re.MULTILINE)
    assert len(rows) == 3
    for sidecars, projects, rate, takes, workers, series in ([int(cell.replace(",", "")) for cell in row] for row in rows):
        assert (takes, workers) == (sidecars * projects / rate, math.ceil(rate * 0.2 / 0.65))
        assert series == sidecars * SERIES


# As a real Prometheus sees it


def prometheus_settings(endpoint: dict, sidecars: list) -> dict:
    """What the operator makes of the PodMonitor, with the addresses of these sidecars instead of those of pods."""
    targets = [
        {"targets": [sidecar.telemetry], "labels": {"namespace": "shop", "pod": f"application-{number}", "container": "evenkeel"}}
        for number, sidecar in enumerate(sidecars)
    ]
    job = {"job_name": "evenkeel", "metrics_path": endpoint["path"], "scrape_interval": "1s", "static_configs": targets}
    # The rest of the file is not of use to one who changes it.
    commented = re.search(r"# (metricRelabelings:\n(?: +#.*\n)+)", (MONITORING / "pods.yaml").read_text())[1]
    (drop,) = yaml.safe_load(re.sub(r"^ +# ", "", commented, flags=re.MULTILINE))["metricRelabelings"]
    smaller = {"source_labels": drop["sourceLabels"], "regex": drop["regex"], "action": drop["action"]}
    without = {**job, "job_name": "without-buckets", "static_configs": targets[:1], "metric_relabel_configs": [smaller]}
    return {"global": {"evaluation_interval": "1s"}, "rule_files": ["rules.json"], "scrape_configs": [job, without]}


class Prometheus:
    """A Prometheus that scrapes sidecars, and answers queries."""

    def __init__(self, address: str):
        self.address = address

    def get(self, path: str, **query) -> dict:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> dict[str, float]:
        """The values, by the pod that they are of."""
        return {one["metric"].get("pod", ""): float(one["value"][1]) for one in self.get("query", query=expression)["result"]}


@pytest.fixture
def sidecars(start_sidecar):
    count = 20
    limits = {"rate": 50, "burst": 5, "fleet_size": count}
    return [start_sidecar(admission=limits, log={"level": "info"}) for _ in range(count)]


@pytest.fixture
def prometheus(sidecars, tmp_path):
    command = shutil.which("prometheus") or pytest.skip("NO PROMETHEUS SCRAPES: install the Debian package prometheus")
    (endpoint,) = yaml.safe_load((MONITORING / "pods.yaml").read_text())["spec"]["podMetricsEndpoints"]
    (tmp_path / "rules.json").write_text(json.dumps(RULES))
    (tmp_path / "prometheus.json").write_text(json.dumps(prometheus_settings(endpoint, sidecars)))
    log = tmp_path / "prometheus.log"
    flags = [f"--config.file={tmp_path}/prometheus.json", f"--storage.tsdb.path={tmp_path}/data", "--web.listen-address=127.0.0.1:0"]
    with log.open("w") as said, subprocess.Popen([command, *flags], stdout=said, stderr=said) as process:
        try:
            listens = r'msg="Listening on" address=(\S+)'
            address = wait_until(lambda: re.search(listens, log.read_text()), within=20)[1]
            yield Prometheus(address)
        finally:
            process.kill()
            print(log.read_text())


def test_a_real_prometheus_scrapes_the_sidecars_and_shows_them_and_notices_trouble(prometheus, sidecars, renderer):
    for sidecar in sidecars:
        sidecar.batch([f"demo/{n}" for n in range(8)], patience=5)
        sidecar.release(2)
    everyone = {f"application-{number}" for number in range(len(sidecars))}
    wait_until(lambda: prometheus.query('up{job="evenkeel"} == 1').keys() == everyone, within=20)
    smaller = wait_until(lambda: prometheus.query('scrape_samples_post_metric_relabeling{job="without-buckets"} > 0'), within=20)
    # Series of a scrape, with each value of each label, since every series is there from the start.
    series = prometheus.query('scrape_samples_scraped{job="evenkeel"}')
    assert 200 < max(series.values()) <= SERIES
    assert max(smaller.values()) < 0.65 * max(series.values())

    for sidecar in sidecars:
        sidecar.batch([f"demo/{n}" for n in range(8)], patience=5)
    shows_nothing = dict(asked())
    del shows_nothing["annotation: Restarts"]  # nothing restarted
    del shows_nothing["annotation: Releases"]  # Prometheus saw the targets as they are

    def all_answered():
        for place, expression in list(shows_nothing.items()):
            if any(value == value for value in prometheus.query(expression).values()):
                del shows_nothing[place]
        return not shows_nothing

    try:
        wait_until(all_answered, within=10, every=0.2)
    finally:
        print("these panels show nothing:", shows_nothing)
    # The fleet had the wrong size until all were scraped.
    quiet = dict.fromkeys(ALERTS, ("ok", "inactive"))
    wait_until(lambda: alerts(prometheus) == quiet, within=10, every=0.2)

    # Three troubles at once: each is noticed within two scrapes, and becomes an alert when it lasts.
    renderer.stop()
    sidecars[0].write_settings("rollout: nonsense")
    troubles = {"EvenkeelLookupsFail", "EvenkeelRendererUnusable", "EvenkeelSettingsBad"}

    def are_noticed():
        with contextlib.suppress(grpc.RpcError):
            sidecars[1].get("demo/new", patience=0)
        return alerts(prometheus) == {name: ("ok", "pending" if name in troubles else "inactive") for name in ALERTS}

    wait_until(are_noticed, within=20, every=0.2)


def alerts(prometheus: Prometheus) -> dict[str, tuple[str, str]]:
    """The health and the state of each alert."""
    groups = prometheus.get("rules", type="alert")["groups"]
    return {rule["name"]: (rule["health"], rule["state"]) for group in groups for rule in group["rules"]}


# On the way there


def rendered(folder: Path) -> list[dict]:
    said = subprocess.run([manifests.kubectl(), "kustomize", folder], capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    return list(yaml.safe_load_all(said.stdout))


def test_what_monitors_the_sidecars_is_rendered_for_one_namespace():
    objects = {one["kind"]: one for one in rendered(MONITORING)}
    assert objects.keys() == {"ConfigMap", "PodMonitor", "PrometheusRule"}
    assert {one["metadata"]["namespace"] for one in objects.values()} == {"monitoring"}
    kubernetes_validate.validate(objects["ConfigMap"], "1.37", strict=True)
    assert json.loads(objects["ConfigMap"]["data"]["evenkeel.json"]) == DASHBOARD
    assert objects["ConfigMap"]["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert objects["PrometheusRule"]["spec"] == RULES


def test_prometheus_finds_the_pods_that_have_a_sidecar_by_label_and_port():
    monitor = yaml.safe_load((MONITORING / "pods.yaml").read_text())["spec"]
    assert monitor["namespaceSelector"] == {"any": True}
    (endpoint,) = monitor["podMetricsEndpoints"]
    for workload in manifests.with_sidecar("example"):
        labels = manifests.template(workload)["metadata"]["labels"]
        assert monitor["selector"]["matchLabels"].items() <= labels.items()
        (port,) = manifests.container(workload, "evenkeel")["ports"]
        assert endpoint["port"] == port["name"]


def test_one_name_has_the_address_of_every_sidecar_even_if_it_is_not_ready():
    service = manifests.only([one for one in manifests.of_kind("example", "Service") if one["metadata"]["name"] == "evenkeel"])
    workload = manifests.only(manifests.with_sidecar("example"))
    spec, (port,) = service["spec"], service["spec"]["ports"]
    assert service["metadata"]["namespace"] == workload["metadata"]["namespace"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)
    assert spec["selector"].items() <= manifests.template(workload)["metadata"]["labels"].items()
    (telemetry,) = manifests.container(workload, "evenkeel")["ports"]
    assert (port["port"], port["targetPort"]) == (telemetry["containerPort"], telemetry["name"])
    assert all(f"evenkeel.{{{{ $labels.namespace }}}}.svc:{port['port']}`" in text for text in named_addresses())


def named_addresses() -> list[str]:
    texts = [rule["annotations"]["runbook"] for rule in ALERTS.values()]
    return [text for text in texts if "`evenkeel status" in text]


def test_one_file_raises_the_rollout_of_all_namespaces_and_replaces_no_pod(tmp_path):
    kustomize = tmp_path / "kustomize"
    shutil.copytree(ROOT / "deploy/kustomize", kustomize)
    for namespace in ("a", "b"):
        (kustomize / namespace).mkdir()
        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": namespace,
            "resources": ["../base/application", "../base/settings"],
            "components": ["../components/fleet", "../components/sidecar"],
        }
        (kustomize / namespace / "kustomization.yaml").write_text(json.dumps(overlay))
    (kustomize / "kustomization.yaml").write_text(json.dumps({"resources": ["a", "b"]}))
    hot = kustomize / "components/fleet/hot.yaml"
    before = rendered(kustomize)
    hot.write_text(re.sub(r"^rollout: 1", "rollout: 2", hot.read_text(), flags=re.MULTILINE))
    after = rendered(kustomize)
    changed = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert [(one["metadata"]["namespace"], one["metadata"]["name"]) for one, _ in changed] == [("a", "evenkeel-hot"), ("b", "evenkeel-hot")]
    assert all(new["data"] == {"hot.yaml": hot.read_text()} for _, new in changed)
    run(BINARY, "check", hot)


# Outside Kubernetes

UNIT = ROOT / "deploy/systemd/evenkeel.service"


def test_systemd_takes_the_unit(tmp_path):
    command = shutil.which("systemd-analyze") or pytest.skip("THE SYSTEMD UNIT IS NOT CHECKED: systemd-analyze is missing")
    # It looks whether the program is there.
    text = UNIT.read_text().replace("/usr/local/bin/evenkeel", str(BINARY.resolve()))
    (tmp_path / "evenkeel.service").write_text(text)
    run(command, "verify", "--man=no", tmp_path / "evenkeel.service")


def test_the_unit_starts_a_sidecar_and_reload_applies_its_hot_settings(tmp_path, renderer):
    said = dict(re.findall(r"^(Exec\w+|Environment)=(.*)$", UNIT.read_text(), re.MULTILINE))
    program, *arguments = said["ExecStart"].split()
    (tmp_path / "etc").mkdir()
    settings, hot = (tmp_path / "etc" / Path(argument.split("=")[1]).name for argument in arguments[1:])
    assert (program, arguments[0], said["ExecReload"]) == ("/usr/local/bin/evenkeel", "serve", "kill -HUP $MAINPID")
    name, value = said["Environment"].split("=")
    assert name == "EVENKEEL_ADMIN__LISTEN" and value.startswith("unix:/run/evenkeel/")

    def write(file, **fields):
        file.write_text(json.dumps(fields))

    write(settings, upstream={"url": renderer.url}, lookup={"listen": ["127.0.0.1:0"]}, telemetry={"listen": "127.0.0.1:0"})
    write(hot, rollout=1)

    class Unit(Sidecar):
        """A sidecar with the files of the unit."""

        def command(self):
            return ["env", f"{name}=unix:{tmp_path}/admin.sock", BINARY, arguments[0], *(f"--config={file}" for file in (settings, hot))]

    sidecar = Unit(tmp_path, renderer.url)
    try:
        sidecar.start()
        assert (tmp_path / "admin.sock").is_socket()
        write(hot, rollout=2)
        subprocess.run(["bash", "-c", said["ExecReload"]], env={"MAINPID": str(sidecar.pid)}, check=True)
        wait_until(lambda: sidecar.metric("target_rollout") == 2, within=2)
    finally:
        sidecar.stop()
        print(sidecar.log())
