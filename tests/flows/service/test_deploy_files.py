"""The files under deploy/ against the code: what they name exists, what they set is what we set."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from flows.service.apply import POOLS
from flows.service.home import CLIENT_AUTH, SERVER_AUTH, ServiceInstance
from flows.service.stack import worker_command
from flows.tree import tree
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.sandbox.token import TOKEN_VARIABLE
from tirgen.settings import ConfigError
from tirgen.sockets.rule import names_of

DEPLOY = Path(__file__).parents[3] / "deploy"
PER_PLACE = {"PREFECT_HOME", "PREFECT_API_URL", "TIRGEN_STORE", "TIRGEN_SERVICE_PAGES"}


def deployments() -> list[dict[str, Any]]:
    """Those of training only where torch is there to import their flows."""
    found = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())["deployments"]
    return [one for one in found if find_spec("torch") or one["work_pool"]["name"] == "cpu"]


def manifests() -> dict[str, dict[str, Any]]:
    files = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    found = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    return {f"{m['kind']}/{m['metadata']['name']}": m for m in found}


@pytest.mark.parametrize("deployment", deployments(), ids=lambda found: found["name"])
def test_every_deployment_names_a_flow_and_a_pool_of_ours(deployment: Any) -> None:
    module, _, name = deployment["entrypoint"].rpartition(".")
    assert getattr(import_module(module), name).name == deployment["name"]
    assert deployment["work_pool"]["name"] in POOLS


def test_a_cluster_runs_under_the_settings_of_tirgen_up(tmp_path: Path) -> None:
    found, home = manifests(), ServiceInstance(tmp_path, 4200)
    client = found["ConfigMap/tirgen-client"]["data"]
    wanted = home.client_environment()
    assert {k: v for k, v in client.items() if k not in PER_PLACE} == {
        k: v for k, v in wanted.items() if k not in PER_PLACE
    }
    server = found["ConfigMap/tirgen-server"]["data"]
    settings = home.server_environment()
    only_there = {"PREFECT_UI_STATIC_DIRECTORY", "TIRGEN_ALLOWED_HOSTS"}
    assert {k: v for k, v in server.items() if k not in only_there}.items() <= settings.items()
    # its pages and its API have one origin there, whose name only the cluster knows
    missing = settings.keys() - wanted.keys() - server.keys()
    assert missing == {"PREFECT_SERVER_CORS_ALLOWED_ORIGINS"}


def pods() -> dict[str, dict[str, Any]]:
    """The template of every pod, by what makes it."""
    return {
        name: found["spec"]["template"]
        for name, found in manifests().items()
        if "template" in found.get("spec", {})
    }


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in container.get("env", [])}


@pytest.mark.parametrize("name", pods())
def test_a_pod_has_no_rights_that_it_does_not_need(name: Any) -> None:
    pod = pods()[name]["spec"]
    assert pod["automountServiceAccountToken"] is False
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == 1000, "the user of deploy/Dockerfile"
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        places = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/tmp", "/home/tirgen"} <= places


@pytest.mark.parametrize("name", pods())
def test_no_pod_starts_without_the_secret(name: Any) -> None:
    [container] = pods()[name]["spec"]["containers"]
    given = {
        variable: one["valueFrom"]["secretKeyRef"]
        for variable, one in variables(container).items()
        if "valueFrom" in one
    }
    server, sandbox = "flows.service.server" in container["command"], "sandbox" in name
    wanted = TOKEN_VARIABLE if sandbox else SERVER_AUTH if server else CLIENT_AUTH
    key = "sandbox" if sandbox else "auth"
    assert given[wanted] == {"name": "tirgen", "key": key}, "required: nothing says optional"
    if "worker" in name:
        assert given[TOKEN_VARIABLE] == {"name": "tirgen", "key": "sandbox"}


def test_the_server_of_a_cluster_is_the_guarded_one_and_refuses_an_empty_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [container] = pods()["Deployment/prefect"]["spec"]["containers"]
    python, module, name, *options = container["command"]
    assert (python, module) == ("python", "-m")
    monkeypatch.setenv(SERVER_AUTH, "")
    monkeypatch.setattr("sys.argv", [name, *options])
    with pytest.raises(ConfigError, match=f"set {SERVER_AUTH}"):
        import_module(name).main()


def test_the_server_of_a_cluster_goes_by_the_name_that_its_clients_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = manifests()
    names = found["ConfigMap/tirgen-server"]["data"]["TIRGEN_ALLOWED_HOSTS"]
    monkeypatch.setenv("TIRGEN_ALLOWED_HOSTS", names)
    api = found["ConfigMap/tirgen-client"]["data"]["PREFECT_API_URL"]
    assert urlsplit(api).hostname in names_of("0.0.0.0")


def test_a_cluster_lets_only_clients_reach_the_server_and_nothing_reach_the_rest() -> None:
    found = manifests()
    everything = found["NetworkPolicy/everything"]["spec"]
    assert everything == {
        "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": [],
    }  # fmt: skip
    outgoing = found["NetworkPolicy/outgoing"]["spec"]
    blocked = [block["ipBlock"]["except"] for block in outgoing["egress"][0]["to"]]
    assert "169.254.0.0/16" in blocked[0]
    server = found["NetworkPolicy/prefect"]["spec"]
    [rule] = server["ingress"]
    [source] = rule["from"]
    [service] = found["Service/prefect"]["spec"]["ports"]
    assert rule["ports"] == [service]
    assert server["podSelector"]["matchLabels"] == found["Service/prefect"]["spec"]["selector"]
    client = source["podSelector"]["matchLabels"].items()
    clients = {name for name, pod in pods().items() if client <= pod["metadata"]["labels"].items()}
    assert clients == pods().keys() - {"Deployment/prefect", "Deployment/sandbox"}


def test_the_sandbox_of_a_cluster_reaches_nothing_and_only_workers_reach_it() -> None:
    found = manifests()
    sandbox = pods()["Deployment/sandbox"]
    label = sandbox["metadata"]["labels"]
    [outside] = found["NetworkPolicy/outgoing"]["spec"]["podSelector"]["matchExpressions"]
    assert outside == {"key": "app", "operator": "NotIn", "values": [label["app"]]}
    policy = found["NetworkPolicy/sandbox"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= label.items()
    [rule] = policy["ingress"]
    assert rule["ports"] == found["Service/sandbox"]["spec"]["ports"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"server": "client"}}}]
    [container] = sandbox["spec"]["containers"]
    _, *arguments = container["command"]
    _, bound, _ = tree().parse_args(arguments, exit_on_error=False, print_error=False)
    assert (bound.arguments["host"], bound.arguments["port"]) == ("0.0.0.0", 8080)
    hosts = variables(container)["TIRGEN_ALLOWED_HOSTS"]["value"].split(",")
    assert found["Service/sandbox"]["metadata"]["name"] in hosts


def test_the_runtime_of_the_sandbox_is_one_of_the_classes() -> None:
    folder = DEPLOY / "kubernetes" / "runtime"
    classes = list(yaml.safe_load_all((folder / "classes.yaml").read_text()))
    assert {one["kind"] for one in classes} == {"RuntimeClass"}
    patch = yaml.safe_load((folder / "patch.yaml").read_text())
    chosen = patch["spec"]["template"]["spec"]["runtimeClassName"]
    assert chosen in {one["metadata"]["name"] for one in classes}


def engines() -> dict[str, dict[str, Any]]:
    files = sorted((DEPLOY / "kubernetes" / "engines").glob("*.yaml"))
    found = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    return {f"{m['kind']}/{m['metadata']['name']}": m for m in found}


@pytest.mark.parametrize("role", ["actor", "critic"])
def test_an_engine_of_a_cluster_runs_our_command_and_only_workers_reach_it(role: Any) -> None:
    found = engines()
    engine, service = found[f"StatefulSet/{role}"]["spec"], found[f"Service/{role}"]["spec"]
    pod = engine["template"]
    [container] = pod["spec"]["containers"]
    script = Path(container["command"][1])
    assert (DEPLOY / "vllm" / script.name).is_file()
    assert script.parent in {Path(m["mountPath"]) for m in container["volumeMounts"]}
    given = {one["name"]: one.get("value") for one in container["env"]}
    asked = (DEPLOY / "vllm" / "actor.sh").read_text()
    assert all(f"${{{name}:" in asked for name in ("MODEL", "HOST", "PORT", "TENSOR_PARALLEL"))
    assert given["TENSOR_PARALLEL"] == str(container["resources"]["limits"]["nvidia.com/gpu"])
    [port] = container["ports"]
    assert given["PORT"] == str(port["containerPort"]) == str(service["ports"][0]["port"])
    assert service["clusterIP"] == "None", "each replica has a name"
    assert engine["serviceName"] == role
    context = pod["spec"]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    policy = found["NetworkPolicy/engines"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    [rule] = policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"server": "client"}}}]
    assert {"port": port["containerPort"]} in rule["ports"]


def test_the_first_dataset_of_the_walk_through_is_a_configuration_of_ours() -> None:
    page = (DEPLOY.parent / "docs" / "operations.md").read_text()
    [text] = re.findall(r"--param config='(\{.*?\})'", page, re.DOTALL)
    config = GenerateConfig.model_validate_json(text)
    ports = {
        f"{name.partition('/')[2]}-0": one["spec"]["ports"][0]["port"]
        for name, one in engines().items()
        if one["kind"] == "Service"
    }
    for engine in (config.actor, config.critic):
        [url] = map(urlsplit, engine.base_urls)
        assert url.hostname is not None
        assert ports[url.hostname.partition(".")[0]] == url.port


@pytest.mark.parametrize("pool", POOLS)
def test_a_cluster_has_a_worker_for_each_pool(pool: Any) -> None:
    worker = manifests()[f"Deployment/worker-{pool}"]
    [container] = worker["spec"]["template"]["spec"]["containers"]
    assert container["command"][1:] == worker_command(pool)[2:]
