"""The files under deploy/ by the rules of the tools that read them: Compose, Kubernetes, Docker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.service.home import CLIENT_AUTH, SERVER_AUTH, ServiceInstance
from flows.service.stack import worker_command
from flows.tree import tree

DEPLOY = Path(__file__).parents[3] / "deploy"
SCRIPTS = sorted((DEPLOY / "vllm").glob("*.sh"))


def tool(name: str) -> str:
    found = Path(sys.executable).with_name(name)
    if not found.exists():
        pytest.skip(f"{name} is not installed (pip install 'tirgen[dev]')")
    return str(found)


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return document


def test_the_compose_file_follows_the_compose_specification() -> None:
    specification = pytest.importorskip("compose_spec", reason="pip install 'tirgen[dev]'")
    specification.ComposeSpecification.model_validate(compose())
    known = specification.Service.model_fields
    for service in compose()["services"].values():
        assert service.keys() <= known.keys(), "the model takes any field"
    wrong = compose()
    wrong["services"]["worker"]["volumes"] = 5
    with pytest.raises(ValueError, match="volumes"):
        specification.ComposeSpecification.model_validate(wrong)


def test_the_manifests_follow_the_schemas_of_kubernetes(tmp_path: Path) -> None:
    files = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    classes = DEPLOY / "kubernetes" / "runtime" / "classes.yaml"
    engines = sorted((DEPLOY / "kubernetes" / "engines").glob("*.yaml"))
    assert len(engines) == 3
    patched = tmp_path / "patched.yaml"
    patched.write_text(yaml.safe_dump_all(workers_with_a_bucket()))
    checked = validated([*files, classes, *engines, patched])
    assert checked.returncode == 0, checked.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(files[-1].read_text().replace("replicas: 1", "replicas: one"))
    assert validated([wrong]).returncode


def workers_with_a_bucket() -> list[dict[str, Any]]:
    """As `kubectl patch` makes them: containers, variables and volumes are merged, `envFrom`
    is replaced."""
    patch = yaml.safe_load((DEPLOY / "kubernetes" / "bucket" / "patch.yaml").read_text())
    spec = patch["spec"]["template"]["spec"]
    [change], [volume] = spec["containers"], spec["volumes"]
    workers = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "workers.yaml").read_text()))
    for worker in workers:
        pod = worker["spec"]["template"]["spec"]
        [container] = pod["containers"]
        assert container["name"] == change["name"]
        container["envFrom"] = change["envFrom"]
        container["env"] += change["env"]
        [old] = [one for one in pod["volumes"] if one["name"] == volume["name"]]
        old |= volume
        for name in [name for name, value in old.items() if value is None]:
            del old[name]
    return workers


def validated(files: list[Path]) -> subprocess.CompletedProcess[str]:
    command = [tool("kubernetes-validate"), "--strict", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_dockerfile_has_no_finding() -> None:
    command = [tool("hadolint"), str(DEPLOY / "Dockerfile")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_compose_runs_under_the_settings_of_tirgen_up(tmp_path: Path) -> None:
    services, home = compose()["services"], ServiceInstance(tmp_path, 4200)
    per_place = {"PREFECT_HOME", "PREFECT_API_URL", "TIRGEN_STORE", "TIRGEN_SERVICE_PAGES"}
    given = services["worker"]["environment"]
    for name, value in home.client_environment().items():
        assert name in per_place or given[name] == value
    settings = home.server_environment()
    server = services["prefect"]["environment"]
    for name in settings.keys() & server.keys():
        assert server[name] == settings[name]
    assert given[CLIENT_AUTH] == server[SERVER_AUTH]
    assert (
        given["TIRGEN_SANDBOX_TOKEN"] == services["sandbox"]["environment"]["TIRGEN_SANDBOX_TOKEN"]
    )


@pytest.mark.parametrize(("service", "pool"), [("worker", "cpu"), ("shards", "shards")])
def test_compose_has_workers(service: str, pool: str) -> None:
    assert compose()["services"][service]["command"][1:] == worker_command(pool)[2:]


def test_model_written_code_has_no_way_out_and_no_service_a_right_it_does_not_need() -> None:
    document = compose()
    sandbox = document["services"]["sandbox"]
    assert sandbox["networks"] == ["inside"]
    assert document["networks"]["inside"] == {"internal": True}
    for name, service in document["services"].items():
        assert not {"privileged", "network_mode", "pid", "cap_add"} & service.keys(), name
        if service["image"] == "tirgen":
            assert service["cap_drop"] == ["ALL"]
            assert service["read_only"] is True
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_the_sandbox_of_compose_is_a_command_of_ours() -> None:
    _, *arguments = compose()["services"]["sandbox"]["command"]
    _, bound, _ = tree().parse_args(arguments, exit_on_error=False, print_error=False)
    assert (bound.arguments["host"], bound.arguments["port"]) == ("0.0.0.0", 8080)


@pytest.mark.parametrize("service", ["prefect", "apply"])
def test_the_modules_of_compose_are_there(service: str) -> None:
    python, module, name, *_ = compose()["services"][service]["command"]
    assert (python, module) == ("python", "-m")
    found = subprocess.run(
        [sys.executable, "-c", f"import {name} as found; assert found.main"], check=False
    )
    assert found.returncode == 0


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_vllm_script_starts_what_the_engine_page_asks_for(script: Any, tmp_path: Path) -> None:
    """With a stand-in for vllm that prints how it was called."""
    (tmp_path / "vllm").write_text('#!/bin/sh\nfor each; do echo "$each"; done; env\n')
    (tmp_path / "vllm").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MODEL": "a model"}
    ran = subprocess.run(
        ["sh", str(script)], env=environment, capture_output=True, text=True, check=True
    )
    serve, model, *options = ran.stdout.splitlines()
    assert (serve, model) == ("serve", "a model")
    assert options[options.index("--generation-config") + 1] == "vllm"
    assert options[options.index("--logprobs-mode") + 1] == "raw_logprobs"
    assert ("--max-num-batched-tokens" in options) == (script.name == "critic.sh")
    port = "8001" if script.name == "critic.sh" else "8000"
    assert options[options.index("--port") + 1] == port
    assert ("VLLM_SERVER_DEV_MODE=1" in options) == (script.name == "policy.sh")
    del environment["MODEL"]
    refused = subprocess.run(["sh", str(script)], env=environment, capture_output=True, check=False)
    assert refused.returncode
    assert b"name the model" in refused.stderr


def test_the_volumes_and_services_that_compose_names_exist() -> None:
    document = compose()
    for service in document["services"].values():
        assert set(service.get("depends_on", ())) <= document["services"].keys()
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in document["volumes"] or (DEPLOY / source).is_dir()
    text = (DEPLOY / "compose.yaml").read_text()
    assert set(re.findall(r"http://(\w+):", text)) <= {*document["services"], "127"}
