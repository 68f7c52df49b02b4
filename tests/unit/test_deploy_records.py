"""The application's side in deploy/: right where it matters, and beside the supervisors."""

from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from supervisor.cli import app
from supervisor.configuration import variable_of
from supervisor.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
OURS = DEPLOY / "kubernetes" / "records"
PORTS = {
    name: Settings.model_fields[f"{name}_http_port"].default for name in ("records", "gateway")
}
PODS = ("upgrade", "records", "gateway")
SELECTING = ("deployment.yaml", "service.yaml", "poddisruptionbudget.yaml")


def read(path):
    return yaml.safe_load(path.read_text("utf-8"))


def pod_of(name):
    """The pod's spec, and its one container."""
    pod = read(OURS / f"{name}.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def variables(container):
    return {variable["name"]: variable for variable in container["env"]}


def is_command(words):
    """Whether that is a command of ours."""
    command, context = get_command(app.app), None
    while words and hasattr(command, "resolve_command"):
        context = context or command.make_context("crewpool", words[:1], resilient_parsing=True)
        _, command, words = command.resolve_command(context, words)
    return command is not None and not words


@pytest.fixture
def compose():
    return read(DEPLOY / "compose.records.yaml")


# ---- Compose


def test_compose_runs_all_of_it_without_privileges_and_for_this_machine_only(compose):
    for name, facts in compose["services"].items():
        assert facts["cap_drop"] == ["ALL"], name
        assert facts["security_opt"] == ["no-new-privileges:true"], name
        assert facts["read_only"] is True, name
        assert all(port.startswith("127.0.0.1:") for port in facts.get("ports", ())), name


def test_compose_upgrades_the_tables_before_anybody_uses_them(compose):
    services = compose["services"]

    assert services["db-upgrade"]["restart"] == "no"
    assert services["db-upgrade"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in PORTS:
        needed = services[name]["depends_on"]
        assert needed["db-upgrade"]["condition"] == "service_completed_successfully"
        # Of the other file, which this one goes with.
        assert needed.keys() - services.keys() <= read(DEPLOY / "compose.yaml")["services"].keys()


def test_compose_gives_them_secrets_from_files_and_only_settings_that_exist(compose):
    known = {variable_of(field) for field in Settings.model_fields}
    for name in ("db-upgrade", *PORTS):
        facts = compose["services"][name]
        settings = facts["environment"]
        assert settings.keys() <= known
        assert is_command(facts["command"])
        named = {path for path in settings.values() if path.startswith("/run/secrets/")}
        assert named == {f"/run/secrets/{secret}" for secret in facts["secrets"]}
        assert set(facts["secrets"]) <= compose["secrets"].keys()


def test_prometheus_finds_and_compose_asks_each_where_it_serves_its_probes(compose):
    jobs = {
        job["job_name"]: job for job in read(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"]
    }
    for name, port in PORTS.items():
        (by_name,) = jobs[f"crewpool-{name}"]["dns_sd_configs"]
        assert (by_name["names"], by_name["port"]) == ([name], port)
        assert compose["services"][name]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}"


# ---- Kubernetes


@pytest.mark.parametrize("name", PODS)
def test_its_pods_run_as_the_supervisors_do(name):
    pod, container = pod_of(name)
    theirs = read(DEPLOY / "kubernetes" / "deployment.yaml")["spec"]["template"]["spec"]
    (their_container,) = theirs["containers"]

    for key in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        assert pod[key] == theirs[key]
    for key in ("securityContext", "image"):
        assert container[key] == their_container[key]
    assert is_command(container["args"])
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", PODS)
def test_its_pods_get_all_that_is_secret_from_secrets(name):
    pod, container = pod_of(name)
    known = {variable_of(field) for field in Settings.model_fields} | {"CREWPOOL_CONFIG"}
    mounts = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", ())}
    folders = []

    for volume in pod.get("volumes", ()):
        if "secret" in volume:
            assert volume["secret"]["defaultMode"] == 0o400
            folders.append(mounts[volume["name"]])
    for variable in container["env"]:
        assert variable["name"] in known
        if variable["name"] in ("REDIS_URL", "CREWPOOL_RECORDS_URL"):
            assert "secretKeyRef" in variable["valueFrom"]
        if variable["name"].endswith("_FILE"):
            assert any(variable["value"].startswith(f"{folder}/") for folder in folders)
    assert "CREWPOOL_RECORDS_URL" in variables(container)


@pytest.mark.parametrize("name", PORTS)
def test_its_pods_are_asked_where_they_answer(name):
    _, container = pod_of(name)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    annotations = read(OURS / f"{name}.yaml")["spec"]["template"]["metadata"]["annotations"]
    asked = {
        probe: container[f"{probe}Probe"]["httpGet"]
        for probe in ("startup", "liveness", "readiness")
    }

    assert {probe: question["path"] for probe, question in asked.items()} == {
        "startup": "/health/live",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }
    # Not where a crowd of clients would be in the way.
    assert {ports[question["port"]] for question in asked.values()} == {PORTS[name]}
    assert annotations["prometheus.io/port"] == str(PORTS[name])


def test_the_gateway_is_open_to_others_with_tokens_only_and_found_by_its_service():
    _, container = pod_of("gateway")
    given = variables(container)
    service = read(OURS / "service.yaml")["spec"]
    (port,) = service["ports"]
    labels = read(OURS / "gateway.yaml")["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert given["CREWPOOL_GATEWAY_HOST"]["value"] == "0.0.0.0"
    assert "CREWPOOL_GATEWAY_TOKEN_FILE" in given
    assert service["selector"].items() <= labels.items()
    assert ports[port["targetPort"]] == Settings.model_fields["gateway_port"].default
    budget = read(OURS / "poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"]
    assert budget.items() <= labels.items()


def test_no_pod_of_it_is_taken_for_a_supervisor():
    theirs = [read(DEPLOY / "kubernetes" / name)["spec"]["selector"] for name in SELECTING]
    selectors = [selector.get("matchLabels", selector) for selector in theirs]

    for name in PODS:
        labels = read(OURS / f"{name}.yaml")["spec"]["template"]["metadata"]["labels"]
        assert not any(selector.items() <= labels.items() for selector in selectors)
