"""The files of deploy/ and the Dockerfile: well-formed, and right where it matters."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from supervisor.configuration import load
from supervisor.settings import Settings
from supervisor.streams.keys import Keys

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def manifest(kind):
    """The one manifest of that kind."""
    (found,) = (m for m in map(read, MANIFESTS) if m["kind"] == kind)
    return found


def read(path):
    return yaml.safe_load(path.read_text("utf-8"))


def seconds(length):
    """What Compose means by `330s`."""
    return int(re.fullmatch(r"(\d+)s", length)[1])


@pytest.fixture
def compose():
    return read(DEPLOY / "compose.yaml")["services"]


@pytest.fixture
def pod():
    return manifest("Deployment")["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    (only,) = pod["containers"]
    return only


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "--config", ".hadolint.yaml", "Dockerfile"],
        ["kubernetes-validate", "--strict", *map(str, DEPLOY.glob("kubernetes/**/*.yaml"))],
    ],
    ids=lambda command: command[0],
)
def test_the_checker_of_the_format_finds_nothing(command):
    program = Path(sys.executable).with_name(command[0])

    checked = subprocess.run(
        [program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


# ---- the image


def test_the_image_runs_crewpool_itself_as_pid_1():
    assert 'ENTRYPOINT ["crewpool"]\nCMD ["run"]' in DOCKERFILE
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE


def test_the_image_is_checked_by_crewpool_health():
    assert re.search(r'HEALTHCHECK .*CMD \["crewpool", "health"\]', DOCKERFILE)


def test_all_that_the_image_copies_is_let_through_to_the_builder():
    sources = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    let_through = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)

    assert sources == set(let_through)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_settings_of_the_image_are_settings(monkeypatch, tmp_path):
    block = re.search(r"^ENV PATH=.*?(?<!\\)$", DOCKERFILE, re.MULTILINE | re.DOTALL)[0]
    variables = dict(re.findall(r"(\w+)=(\S+)", block))
    for name in ("PLUGIN_DIR", "CREWPOOL_HTTP_HOST", "CREWPOOL_HTTP_PORT"):
        monkeypatch.setenv(name, variables[name])
    monkeypatch.chdir(tmp_path)

    settings = load()

    assert settings.plugin_dir == Path("/app/plugins")
    assert (settings.http_host, settings.http_port) == ("0.0.0.0", 8000)
    assert f"EXPOSE {settings.http_port}" in DOCKERFILE


# ---- Compose


def test_compose_gives_a_drain_its_time(compose):
    crewpool = compose["crewpool"]

    assert seconds(crewpool["stop_grace_period"]) > int(crewpool["environment"]["CREWPOOL_DRAIN_S"])


def test_compose_puts_no_init_between_crewpool_and_what_crews_leave_behind(compose):
    assert compose["crewpool"]["init"] is False
    assert "command" not in compose["crewpool"]


@pytest.mark.parametrize("service", ["redis", "crewpool", "prometheus"])
def test_compose_runs_it_without_privileges(compose, service):
    facts = compose[service]

    assert facts["cap_drop"] == ["ALL"]
    assert facts["security_opt"] == ["no-new-privileges:true"]
    assert facts["read_only"] is True
    assert all(port.startswith("127.0.0.1:") for port in facts["ports"])


def test_compose_gives_crewpool_the_writable_memory_it_needs(compose):
    assert compose["crewpool"]["shm_size"] == "256m"
    assert any(mount.startswith("/tmp:") for mount in compose["crewpool"]["tmpfs"])


def test_compose_sets_only_settings_that_exist(compose):
    known = {f"CREWPOOL_{field.upper()}" for field in Settings.model_fields}
    ours = {name for name in compose["crewpool"]["environment"] if name.startswith("CREWPOOL_")}

    assert ours - known == set()


def test_prometheus_scrapes_crewpool(compose):
    jobs = read(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]
    targets = [
        target
        for job in jobs
        for static in job.get("static_configs", ())
        for target in static["targets"]
    ]

    assert "crewpool:8000" in targets
    for name in ("prometheus.yml", "alerts.yml"):
        mount = f"./prometheus/{name}:/etc/prometheus/{name}:ro"
        assert mount in compose["prometheus"]["volumes"]


# ---- Kubernetes


def test_the_pods_grace_is_longer_than_the_drain_it_is_told(pod, monkeypatch, tmp_path):
    file = tmp_path / "crewpool.toml"
    file.write_text(manifest("ConfigMap")["data"]["crewpool.toml"], "utf-8")
    monkeypatch.setenv("CREWPOOL_CONFIG", str(file))

    settings = load()

    assert pod["terminationGracePeriodSeconds"] >= settings.drain_s + 30
    assert settings.drain_s >= settings.crew_timeout_s


def test_the_pod_is_asked_the_questions_that_crewpool_answers(container):
    paths = {
        probe: container[f"{probe}Probe"]["httpGet"]["path"]
        for probe in ("startup", "liveness", "readiness")
    }

    # A start that waited for readiness would end in restarts whenever Redis is away.
    assert paths == {
        "startup": "/health/live",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }


def test_the_pod_runs_as_the_images_user_without_privileges(pod, container):
    uid = int(re.search(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)[1])

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == uid
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_pod_gets_memory_for_crewais_files(pod, container):
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}

    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    assert "/tmp" in mounts


def test_the_pod_gets_redis_from_a_secret_and_nothing_from_services(pod, container):
    (url,) = (variable for variable in container["env"] if variable["name"] == "REDIS_URL")

    assert "secretKeyRef" in url["valueFrom"]
    # Otherwise CREWPOOL_PORT=tcp://… stands among our settings.
    assert pod["enableServiceLinks"] is False


def test_service_and_budget_select_the_pods():
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]

    assert manifest("Service")["spec"]["selector"].items() <= labels.items()
    assert (
        manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    )


# ---- KEDA


@pytest.fixture
def scaled():
    documents = yaml.safe_load_all((DEPLOY / "keda" / "scaledobject.yaml").read_text("utf-8"))
    return {document["kind"]: document for document in documents}


def test_keda_looks_at_all_that_waits_and_at_all_that_is_in_hand(scaled):
    keys = Keys.of(load())
    triggers = scaled["ScaledObject"]["spec"]["triggers"]
    lags = {t["metadata"]["stream"]: t["metadata"] for t in triggers if t["type"] != "redis"}
    counts = {t["metadata"]["listName"]: t["metadata"] for t in triggers if t["type"] == "redis"}

    # Delayed, parked and running runs are in no stream's lag.
    assert set(lags) == set(keys.request_streams)
    assert set(counts) == {keys.holding, keys.waiting}
    for metadata in lags.values():
        assert metadata["consumerGroup"] == keys.group
        # It is compared with >, so that 0 wakes somebody for the first run.
        assert metadata["activationLagCount"] == "0"
    assert all(metadata["activationListLength"] == "0" for metadata in counts.values())


def test_keda_scales_the_deployment_by_the_workers_of_its_pods(scaled, monkeypatch, tmp_path):
    file = tmp_path / "crewpool.toml"
    file.write_text(manifest("ConfigMap")["data"]["crewpool.toml"], "utf-8")
    monkeypatch.setenv("CREWPOOL_CONFIG", str(file))
    spec = scaled["ScaledObject"]["spec"]
    targets = {t["metadata"].get("lagCount") for t in spec["triggers"]} - {None}
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    secrets = {ref["name"] for ref in scaled["TriggerAuthentication"]["spec"]["secretTargetRef"]}

    settings = load()

    assert spec["scaleTargetRef"]["name"] == manifest("Deployment")["metadata"]["name"]
    assert targets == {str(settings.workers)}
    assert spec["minReplicaCount"] >= 1
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] > settings.crew_timeout_s
    assert {t["authenticationRef"]["name"] for t in spec["triggers"]} == {
        scaled["TriggerAuthentication"]["metadata"]["name"]
    }
    assert secrets == {"crewpool-keda"}
