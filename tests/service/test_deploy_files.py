"""The files under deploy/ against the code: what they name exists, what they set is what we set."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.service.apply import POOLS
from flows.service.home import Home
from flows.service.stack import worker_command

DEPLOY = Path(__file__).parents[2] / "deploy"
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
def test_every_deployment_names_a_flow_and_a_pool_of_ours(deployment):
    module, _, name = deployment["entrypoint"].rpartition(".")
    assert getattr(import_module(module), name).name == deployment["name"]
    assert deployment["work_pool"]["name"] in POOLS


def test_a_cluster_runs_under_the_settings_of_tirgen_up(tmp_path):
    found, home = manifests(), Home(tmp_path, 4200)
    client = found["ConfigMap/tirgen-client"]["data"]
    wanted = home.client_environment()
    assert {k: v for k, v in client.items() if k not in PER_PLACE} == {
        k: v for k, v in wanted.items() if k not in PER_PLACE
    }
    server = found["ConfigMap/tirgen-server"]["data"]
    settings = home.server_environment()
    assert server.items() <= settings.items()
    # its pages and its API have one origin there, whose name only the cluster knows
    missing = settings.keys() - wanted.keys() - server.keys()
    assert missing == {"PREFECT_SERVER_CORS_ALLOWED_ORIGINS"}


@pytest.mark.parametrize("pool", POOLS)
def test_a_cluster_has_a_worker_for_each_pool(pool):
    worker = manifests()[f"Deployment/worker-{pool}"]
    [container] = worker["spec"]["template"]["spec"]["containers"]
    assert container["command"][1:] == worker_command(pool)[2:]
