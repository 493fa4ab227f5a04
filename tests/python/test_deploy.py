"""What deploy/ would do on a cluster, as far as it can be known without one.

`UPDATE_GOLDEN=1` renders the golden files anew; all but the first test judge those.
"""

import contextlib
import http.client
import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import grpc
import kubernetes_validate
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

import manifests
from contract import RenderRequest, RenderServiceStub
from manifests import ROOT, container, containers, flags, of_kind, only, template, volumes, with_sidecar
from sidecar import BINARY, LISTENS, wait_until

ALL = sorted(manifests.SOURCES)
CHECKOV = ROOT / "tests/.checkov/bin/checkov"

# The first Kubernetes with native sidecars, and a new one. Policies that change what is created are of 1.36.
VERSIONS = ("1.29", "1.37")
KNOWN = [(name, version) for name in ALL for version in VERSIONS if name != "others" or version != "1.29"]

COMPONENTS = ROOT / "deploy/kustomize/components"


def policy_of(renderer) -> dict:
    """The NetworkPolicy that lets sidecars reach the renderer."""
    return only([one for one in of_kind("example", "NetworkPolicy") if one["metadata"]["name"] == renderer["metadata"]["name"]])


def sidecars():
    return [(name, workload) for name in ALL for workload in with_sidecar(name)]


@pytest.fixture(params=sidecars(), ids=lambda pair: pair[1]["metadata"]["name"])
def patched(request):
    """The name of a golden file, and a workload in it that evenkeel was added to."""
    return request.param


@pytest.fixture
def renderer():
    return only([one for one in of_kind("example", "Deployment") if one["metadata"]["name"] == "evenkeel-renderer"])


# The images


def made_of() -> set[Path]:
    """The files of the repository that went into the program, as cargo wrote them down."""
    target = BINARY.resolve().parents[1]
    _, files = BINARY.with_suffix(".d").read_text().split(": ", 1)
    paths = {Path(os.path.normpath(file)) for file in files.split()}
    return {path.relative_to(ROOT) for path in paths if path.is_relative_to(ROOT) and not path.is_relative_to(target)}


def test_the_image_is_built_from_all_that_the_program_is_made_of(tmp_path):
    stage = (ROOT / "deploy/Dockerfile.build").read_text().split("\nFROM ")[1]
    sent = [line[1:] for line in (ROOT / "deploy/Dockerfile.build.dockerignore").read_text().split() if line != "*"]
    for instruction in re.findall(r"^COPY (.+)$", stage, re.MULTILINE):
        *sources, place = instruction.split()
        for source in sources:
            assert any(Path(source).is_relative_to(name) for name in sent), f"{source} is not sent to the builder"
            assert place in ("./", source), "the program is made of it where it is"
            (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, tmp_path / source)
    files = made_of()
    assert Path("src/main.rs") in files
    assert not {str(file) for file in files if not (tmp_path / file).exists()}
    read = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version=1"]
    subprocess.run(read, cwd=tmp_path, stdout=subprocess.DEVNULL, check=True)


def stages(name) -> dict[str, str]:
    """The stages of a Dockerfile, in their order."""
    _, *parts = (ROOT / "deploy" / name).read_text().split("\nFROM ")
    return {part.split("\n")[0].split(" AS ")[1]: part for part in parts}


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.build"])
def test_the_image_of_the_sidecar_holds_no_renderer_that_fails_on_demand(name):
    images = {stage: text for stage, text in stages(name).items() if text.startswith("scratch ")}
    assert list(images) == ["demo", "sidecar"], "the last is what is built unless told otherwise"
    assert "/deploy/demo" in images["demo"] and "/deploy/demo" not in images["sidecar"]
    if name == "Dockerfile":
        programs = {stage: re.search(r"COPY (\S+) /evenkeel\n", text)[1] for stage, text in images.items()}
        assert programs == {"demo": "target/image/demo/evenkeel", "sidecar": "target/image/evenkeel"}
    else:
        built_by = {stage: re.search(r"--from=(\S+) /evenkeel.static", text)[1] for stage, text in images.items()}
        without = {stage: "--no-default-features" in stages(name)[build] for stage, build in built_by.items()}
        assert without == {"demo": False, "sidecar": True}


def test_what_only_the_demo_needs_is_not_linked_into_the_sidecar():
    tree = ["cargo", "tree", "--locked", "--offline", "--edges=normal", "--prefix=none", "--format={lib}"]
    linked = [set(subprocess.check_output([*tree, *flag], cwd=ROOT, text=True).split()) for flag in ([], ["--no-default-features"])]
    assert "tempfile" in linked[0] and "tokio" in linked[1]
    assert "tempfile" not in linked[1]


def test_only_the_renderer_and_the_sample_application_are_of_the_image_with_the_demo():
    of_demo = {
        one["name"]
        for name in ALL
        for workload in of_kind(name, *manifests.WORKLOADS)
        for one in containers(workload)
        if one["image"].startswith("registry.example/evenkeel-demo")
    }
    assert of_demo == {"renderer", "application"}
    assert all(container(workload, "evenkeel")["image"].split(":")[0] == "registry.example/evenkeel" for _, workload in sidecars())


# As tools see it


@pytest.mark.parametrize("name", ALL)
def test_what_kustomize_renders_is_what_was_reviewed(name):
    golden = manifests.GOLDEN / f"{name}.yaml"
    rendered = manifests.render(name)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(rendered)
    assert rendered == golden.read_text(), "review it, then: UPDATE_GOLDEN=1"


@pytest.mark.parametrize("name, version", KNOWN)
def test_kubernetes_knows_every_field(name, version):
    for one in manifests.objects(name):
        if one["kind"] == "Rollout":  # it is Argo's
            continue
        assert kubernetes_validate.validate(one, version, strict=True) == version


@pytest.mark.long
def test_checkov_finds_nothing_but_what_is_meant_so():
    assert CHECKOV.exists(), "run tests/run once, which installs it"
    files = [manifests.GOLDEN / "example.yaml", ROOT / "deploy/Dockerfile", ROOT / "deploy/Dockerfile.build"]
    command = [CHECKOV, "--skip-download", "--compact", "--quiet", "--output=json", "--framework", "kubernetes", "dockerfile"]
    for file in files:
        command += ["--file", file.relative_to(ROOT)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    reports = json.loads(said.stdout)
    assert {report["check_type"] for report in reports} == {"kubernetes", "dockerfile"}
    assert all(report["summary"]["passed"] and not report["summary"]["parsing_errors"] for report in reports)
    found = {(one["check_id"], one["resource"].lstrip("/")) for report in reports for one in report["results"]["failed_checks"]}
    meant = yaml.safe_load((ROOT / "tests/deploy/findings.yaml").read_text())
    assert all(finding["why"] for finding in meant.values())
    assert found == {(check, where) for check, finding in meant.items() for where in finding["where"]}


# As the program sees it


def test_the_program_takes_the_settings_that_pods_get(patched, tmp_path):
    manifests.mounted_settings(*patched, tmp_path)
    files = re.findall(r"--config=(\S+)", " ".join(container(patched[1], "evenkeel")["args"]))
    assert len(files) == 2
    said = subprocess.run([BINARY, "check", *(tmp_path / file.lstrip("/") for file in files)], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


def test_a_pod_of_the_example_starts_and_is_probed(tmp_path):
    workload = only(with_sidecar("example"))
    manifests.mounted_settings("example", workload, tmp_path)
    evenkeel = container(workload, "evenkeel")
    arguments = [argument.replace("--config=/", f"--config={tmp_path}/") for argument in evenkeel["args"]]
    admin = tmp_path / "run/evenkeel/admin/admin.sock"
    # What only a pod has: its name service, its ports, and a root of its own.
    here = {
        "EVENKEEL_UPSTREAM__URL": "http://127.0.0.1:1",
        "EVENKEEL_LOOKUP__LISTEN": "127.0.0.1:0",
        "EVENKEEL_TELEMETRY__LISTEN": "127.0.0.1:0",
        "EVENKEEL_ADMIN__LISTEN": f"unix:{admin}",
        "EVENKEEL_LOG__FORMAT": "text",
    }
    log = tmp_path / "log"
    with log.open("w") as said, subprocess.Popen([BINARY, *arguments], env=os.environ | here, stderr=said) as process:
        try:
            addresses = wait_until(lambda: len(found := dict(LISTENS.findall(log.read_text()))) == 2 and found)
            telemetry = addresses["probes and metrics are served"]
            for kind in ("livenessProbe", "startupProbe", "readinessProbe"):
                probe = evenkeel[kind]
                within = probe["periodSeconds"] * probe["failureThreshold"]
                wait_until(lambda: get(telemetry, probe["httpGet"]["path"]).status == 200, within=within)
            assert admin.is_socket()
            assert admin.stat().st_mode & 0o777 == 0o600
        finally:
            process.kill()
            print(log.read_text())


def get(address, path) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(address, timeout=1)
    connection.request("GET", path)
    return connection.getresponse()


@contextlib.contextmanager
def running(renderer, **instead):
    """The renderer of the example, with some of its flags replaced: its process, a channel to it, and where it is controlled."""
    told = flags(container(renderer, "renderer")) | {"listen": "127.0.0.1:0", "control": "127.0.0.1:0"} | instead
    arguments = ["renderer", *(f"--{flag}={value}" for flag, value in told.items())]
    # From the root of the repository its projects are found at the same relative path as in the image.
    with subprocess.Popen([BINARY, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            address, control = re.search(r"on (\S+), control on http://(\S+),", process.stdout.readline()).groups()
            with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
                yield process, channel, control
        finally:
            process.kill()


def test_the_renderer_of_the_example_starts_and_is_probed(renderer):
    with running(renderer) as (_, channel, _):
        request = health_pb2.HealthCheckRequest()
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5, wait_for_ready=True)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_renderer_that_is_told_to_end_ends_the_render_that_runs(renderer):
    with running(renderer, cost="1s") as (process, channel, control):
        call = RenderServiceStub(channel).Render.future(RenderRequest(project="paperboy", rollout=1), timeout=10)
        wait_until(lambda: json.load(get(control, "/renders"))["in_flight"] == 1)
        process.terminate()
        assert call.result().payload
        assert process.wait(10) == 0


# As a cluster would see it


def test_the_sidecar_is_a_native_one_before_all_other_containers(patched):
    pod = template(patched[1])["spec"]
    first = pod["initContainers"][0]
    assert (first["name"], first["restartPolicy"]) == ("evenkeel", "Always")
    assert "lifecycle" not in first, "a preStop runs while the application still works"


def test_only_what_is_labelled_gets_a_sidecar():
    bare = [one for one in of_kind("kinds", *manifests.WORKLOADS) if one not in with_sidecar("kinds")]
    assert [one["metadata"]["name"] for one in bare] == ["without-the-label"]
    assert "initContainers" not in template(bare[0])["spec"]
    assert {workload["kind"] for _, workload in sidecars()} == set(manifests.WORKLOADS)


def test_every_volume_is_there_and_settings_are_mounted_as_folders(patched):
    name, workload = patched
    maps, namespace = manifests.config_maps(name), workload["metadata"]["namespace"]
    for mount in (mount for one in containers(workload) for mount in one.get("volumeMounts", [])):
        volume = volumes(workload)[mount["name"]]
        assert "subPath" not in mount, "it would never change"
        assert "configMap" not in volume or (namespace, volume["configMap"]["name"]) in maps
    assert volumes(workload)["evenkeel-hot"]["configMap"]["name"] == "evenkeel-hot", "a hash would roll the pods"
    assert re.fullmatch(r"evenkeel-settings-\w{10}", volumes(workload)["evenkeel-settings"]["configMap"]["name"])


def test_no_other_container_reaches_the_admin_socket(patched):
    mounting = {
        one["name"]: mount["mountPath"]
        for one in containers(patched[1])
        for mount in one.get("volumeMounts", [])
        if mount["name"] == "evenkeel-admin"
    }
    assert mounting == {"evenkeel": "/run/evenkeel/admin"}


def test_the_application_can_share_the_lookup_socket():
    workload = only(of_kind("kinds", "StatefulSet"))
    evenkeel, application = container(workload, "evenkeel"), container(workload, "application")
    listen = only([one["value"] for one in evenkeel["env"] if one["name"] == "EVENKEEL_LOOKUP__LISTEN"])
    folder = os.path.dirname(listen.split("unix:")[1])
    shared = [one for one in evenkeel["volumeMounts"] if one["mountPath"] == folder]
    assert shared and shared[0] in application["volumeMounts"]


def pods_of_the_example() -> list[dict]:
    drills = [drill["spec"]["jobTemplate"] for drill in of_kind("example", "CronJob")]
    return [*of_kind("example", "Deployment"), *drills]


@pytest.mark.parametrize("one", [one for work in pods_of_the_example() for one in containers(work)], ids=lambda one: one["name"])
def test_every_container_is_restricted_and_says_what_it_needs(one):
    security = one["securityContext"]
    assert security["runAsNonRoot"] and security["runAsUser"] == 65532
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert one["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in one["resources"]["limits"] and "cpu" not in one["resources"]["limits"]


def test_every_pod_has_the_seccomp_profile_and_no_token():
    for workload in pods_of_the_example():
        pod = template(workload)["spec"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
    for _, workload in sidecars():
        assert container(workload, "evenkeel")["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


# The drill


@pytest.fixture
def drill() -> dict:
    return only(of_kind("example", "CronJob"))


def test_the_drill_asks_the_renderer_that_the_sidecars_ask_and_nothing_else_does(drill, renderer):
    pod = drill["spec"]["jobTemplate"]["spec"]["template"]
    (one,) = pod["spec"]["containers"]
    assert "initContainers" not in pod["spec"] and "evenkeel.dev/sidecar" not in pod["metadata"]["labels"], "it starts its own"
    assert one["args"][0] == "drill"
    assert flags(one)["upstream"] == settings_of_the_example()["upstream"]["url"]
    assert (ROOT / f"deploy/demo/projects/{flags(one)['project']}.yaml").exists(), "the renderer of the example knows it"
    policy = only([one for one in of_kind("example", "NetworkPolicy") if one["metadata"]["name"] == "evenkeel-drill"])
    assert policy["metadata"]["namespace"] == drill["metadata"]["namespace"] == renderer["metadata"]["namespace"]
    assert policy["spec"]["podSelector"] == policy_of(renderer)["spec"]["podSelector"]
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer == {"podSelector": {"matchLabels": pod["metadata"]["labels"]}}
    assert rule["ports"] == policy_of(renderer)["spec"]["ingress"][0]["ports"]


def test_a_drill_that_breaks_a_promise_is_a_failed_job_and_is_not_repeated(drill):
    job = drill["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert (job["backoffLimit"], pod["restartPolicy"], drill["spec"]["concurrencyPolicy"]) == (0, "Never", "Forbid")
    assert job["activeDeadlineSeconds"] >= 600, "healing alone may take 90 s, twice"
    assert drill["spec"]["failedJobsHistoryLimit"] > 0, "kube_job_failed lasts as long as the Job"
    assert pod["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"


# Beside the component


def added(component: str) -> dict:
    """What a component adds to the pods of its kind."""
    spec = yaml.safe_load((COMPONENTS / component / f"{component}.yaml").read_text())["spec"]
    return spec.get("jobTemplate", {"spec": spec})["spec"]["template"]


def other(kind: str) -> dict:
    """The template of the pods of a workload that another component patches."""
    spec = only(of_kind("others", kind))["spec"]
    return spec.get("jobTemplate", {"spec": spec})["spec"]["template"]


@pytest.mark.parametrize("component", ["cronjob", "rollout"])
def test_other_kinds_get_what_the_sidecar_component_adds(component):
    assert added(component) == added("sidecar")


@pytest.mark.parametrize("kind", ["CronJob", "Rollout"])
def test_other_kinds_get_a_sidecar_and_keep_what_they_have(kind):
    # The sidecar's patch replaced the init containers of a Rollout, whose lists kustomize does not know how to merge.
    pod = other(kind)
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["evenkeel", "first"]
    assert {"data", "evenkeel-settings", "evenkeel-hot", "evenkeel-admin"} == {one["name"] for one in pod["spec"]["volumes"]}
    assert pod["metadata"]["labels"] == {"app": "any", "evenkeel.dev/sidecar": "enabled"}


@pytest.mark.parametrize("kind", ["Deployment", "CronJob", "Rollout"])
def test_openshift_is_asked_for_no_fixed_user(kind):
    security = other(kind)["spec"]["initContainers"][0]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & security.keys()


def test_a_labelled_pod_without_the_sidecar_is_refused(renderer):
    policy = only(of_kind("others", "ValidatingAdmissionPolicy"))
    binding = only(of_kind("others", "ValidatingAdmissionPolicyBinding"))["spec"]
    assert (binding["policyName"], binding["validationActions"]) == (policy["metadata"]["name"], ["Deny"])
    constraints = policy["spec"]["matchConstraints"]
    (peer,) = policy_of(renderer)["spec"]["ingress"][0]["from"]
    assert constraints["objectSelector"]["matchLabels"] == peer["podSelector"]["matchLabels"], "what the renderer lets in"
    (rule,) = constraints["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["pods"], ["CREATE"])
    (validation,) = policy["spec"]["validations"]
    assert 'one.name == "evenkeel"' in validation["expression"]


def as_yaml(cel: str):
    """What an object in CEL is in YAML."""
    keyed = re.sub(r"^(\s*)(\w+):", r'\1"\2":', cel, flags=re.MULTILINE)
    return json.loads(re.sub(r"Object[\w.]*\{", "{", keyed))


def test_the_cluster_injects_what_the_component_adds():
    policy = only(of_kind("others", "MutatingAdmissionPolicy"))["spec"]
    variables = {one["name"]: as_yaml(one["expression"]) for one in policy["variables"]}
    pod = added("sidecar")["spec"]
    assert variables == {"sidecar": pod["initContainers"][0], "volumes": pod["volumes"]}
    label = only(of_kind("others", "ValidatingAdmissionPolicy"))["spec"]["matchConstraints"]
    assert policy["matchConstraints"] | {"matchPolicy": None} == label | {"matchPolicy": None}


def test_the_cluster_says_why_a_sidecar_ended(patched):
    assert container(patched[1], "evenkeel")["terminationMessagePolicy"] == "FallbackToLogsOnError"


def settings_of_the_example() -> dict:
    """The settings in force, section by section."""
    settings = manifests.defaults()
    for data in manifests.config_maps("example").values():
        for text in data.values():
            for section, fields in yaml.safe_load(text).items():
                settings[section] = settings[section] | fields if isinstance(fields, dict) else fields
    return settings


def test_times_and_sizes_fit_together():
    workload, settings = only(with_sidecar("example")), settings_of_the_example()
    evenkeel, pod = container(workload, "evenkeel"), template(workload)["spec"]
    startup = evenkeel["startupProbe"]
    assert manifests.seconds(settings["start"]["grace"]) < startup["periodSeconds"] * startup["failureThreshold"] / 2
    assert manifests.seconds(settings["drain"]["grace"]) < pod.get("terminationGracePeriodSeconds", 30)
    limit = manifests.mebibytes(evenkeel["resources"]["limits"]["memory"])
    assert limit == 3 * manifests.mebibytes(settings["cache"]["max_bytes"])
    asked = manifests.mebibytes(evenkeel["resources"]["requests"]["memory"])
    assert 9 < asked <= 32, "what 10,000 pods reserve: idle ones use 9 MiB"
    ports = {port["name"]: port["containerPort"] for port in evenkeel["ports"]}
    assert settings["telemetry"]["listen"] == f"[::]:{ports['telemetry']}"


def test_only_pods_with_the_label_of_the_sidecar_reach_the_renderer(renderer):
    labels = template(renderer)["metadata"]["labels"]
    service = only([one for one in of_kind("example", "Service") if one["metadata"]["name"] == renderer["metadata"]["name"]])
    policy = policy_of(renderer)
    (port,) = container(renderer, "renderer")["ports"]
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    assert settings_of_the_example()["upstream"]["url"] == f"http://{name}.{namespace}.svc:{service['spec']['ports'][0]['port']}"
    assert service["spec"]["clusterIP"] == "None", "one address would pin every sidecar to where it first went"
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert service["spec"]["ports"][0]["port"] == port["containerPort"], "headless: nothing translates ports"
    assert flags(container(renderer, "renderer"))["listen"] == f"[::]:{port['containerPort']}"
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert service["spec"]["selector"] == policy["spec"]["podSelector"]["matchLabels"] == labels
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["name"]}]
    for _, workload in sidecars():
        assert peer["podSelector"]["matchLabels"].items() <= template(workload)["metadata"]["labels"].items()
    assert not peer["podSelector"]["matchLabels"].items() <= labels.items()


def test_no_image_is_one_that_somebody_else_could_offer():
    ours = {one["image"] for name in ALL for workload in of_kind(name, *manifests.WORKLOADS) for one in containers(workload)} - {"any"}
    names = {"registry.example/evenkeel", "registry.example/evenkeel:0.1.0", "registry.example/evenkeel-demo:0.1.0"}
    assert ours == names


def test_probes_are_patient_with_a_node_that_is_short_of_cpu(patched):
    evenkeel = container(patched[1], "evenkeel")
    unready, dead = ({"timeoutSeconds": 1} | evenkeel[kind] for kind in ("readinessProbe", "livenessProbe"))
    assert all(probe["timeoutSeconds"] >= 3 for probe in (unready, dead))
    assert unready["periodSeconds"] * unready["failureThreshold"] >= 15
    assert dead["periodSeconds"] * dead["failureThreshold"] >= 60, "a sidecar that is restarted holds nothing"


def test_there_are_always_the_renderers_that_a_release_needs(renderer):
    scaler, settings = only(of_kind("example", "HorizontalPodAutoscaler"))["spec"], settings_of_the_example()["admission"]
    metric = only(scaler["metrics"])["containerResource"]
    embedded = container(renderer, metric["container"])
    workers = int(flags(embedded)["workers"])
    assert manifests.cores(embedded["resources"]["requests"]["cpu"]) == workers
    busy = settings["fleet_rate"] * manifests.seconds(flags(embedded)["cost"])
    needed = math.ceil(busy / (metric["target"]["averageUtilization"] / 100) / workers)
    away = only(of_kind("example", "PodDisruptionBudget"))["spec"]["maxUnavailable"]
    assert scaler["minReplicas"] == needed + away < scaler["maxReplicas"]
    assert scaler["scaleTargetRef"]["name"] == renderer["metadata"]["name"]
    assert "replicas" not in renderer["spec"], "each apply would undo the autoscaler's work"
    assert renderer["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    # A burst of every sidecar at once still finds room at the renderers, also in the fleet of a hundred that they are sized for.
    room = scaler["minReplicas"] * (workers + int(flags(embedded)["queue"]))
    hundred = yaml.safe_load((ROOT / "deploy/kustomize/base/settings/hot.yaml").read_text())["admission"]
    assert hundred["fleet_rate"] == settings["fleet_rate"]
    assert all(fleet["burst"] * fleet["fleet_size"] <= room for fleet in (settings, hundred))


def test_the_fleet_is_as_large_as_the_settings_say():
    replicas = [workload["spec"]["replicas"] for workload in with_sidecar("example")]
    assert settings_of_the_example()["admission"]["fleet_size"] == sum(replicas)


def test_the_renderer_keeps_to_nodes_of_its_own_and_evicts_no_pod(renderer):
    pod = template(renderer)["spec"]
    (node,), (toleration,) = pod["nodeSelector"].items(), pod["tolerations"]
    assert node == (toleration["key"], toleration["value"])
    assert toleration["effect"] == "NoSchedule"
    priority = only(of_kind("example", "PriorityClass"))
    assert priority["metadata"]["name"] == pod["priorityClassName"]
    assert (priority["preemptionPolicy"], priority["globalDefault"]) == ("Never", False)
    labels = template(renderer)["metadata"]["labels"]
    spread = pod["topologySpreadConstraints"]
    assert {one["topologyKey"] for one in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    selectors = [one["labelSelector"]["matchLabels"] for one in spread]
    selectors.append(only(of_kind("example", "PodDisruptionBudget"))["spec"]["selector"]["matchLabels"])
    assert all(selector == labels for selector in selectors)
    assert all(one["matchLabelKeys"] == ["pod-template-hash"] for one in spread), "the pods of the release before would count"
