"""The server refuses what the run form would not offer, before a worker takes the run."""

from __future__ import annotations

import json
import urllib.error
from typing import Any

import pytest

from tests.flows.service.stack import Stack


@pytest.mark.parametrize(
    ("name", "parameters", "named"),
    [
        ("generate", {"confg": {"dataset": "d"}}, "confg"),
        ("generate", {"config": {"dataset": "d", "atempts": 3}}, "atempts"),
        ("generate", {"shard_problems": 7}, "7 is less than"),
        ("curate", {"dataset": "d", "nothing": 1}, "nothing"),
    ],
)
def test_a_parameter_that_no_flow_has_starts_no_run(
    stack: Stack, name: str, parameters: dict[str, Any], named: str
) -> None:
    before = stack.ask("/flow_runs/count", {})
    with pytest.raises(urllib.error.HTTPError) as refused:
        stack.start(name, parameters)
    with refused.value as answer:
        assert named in json.loads(answer.read())["detail"]
    assert refused.value.code == 409
    assert stack.ask("/flow_runs/count", {}) == before


def test_every_deployment_has_a_closed_schema(stack: Stack) -> None:
    for deployment in stack.ask("/deployments/filter", {}):
        assert deployment["enforce_parameter_schema"]
        assert deployment["parameter_openapi_schema"]["additionalProperties"] is False
