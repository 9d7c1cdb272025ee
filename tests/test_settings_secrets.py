"""No address or name of a configuration holds a key, and no refusal quotes one."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from tirgen.engine.engine_config import EngineConfig
from tirgen.evaluation.reward_model import RewardModelConfig
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.sandbox.program_settings import SandboxSettings
from tirgen.settings import ConfigError, load_settings

KEY = "planted-k3y"
WITH_KEY = [
    f"https://host/v1?api-key={KEY}", f"https://user:{KEY}@host/v1", f"https://{KEY}@host/v1",
    f"https://host/v1#{KEY}", f"https://host?{KEY}", f"https://user:{KEY}@[::1]:8000",
    f"https://host/{KEY}@x", f"https://host\\@{KEY}", f" https://host/{KEY}?", f"{KEY}",
    f"https://[{KEY}/v1", f"https://host:{KEY}/v1", f"ftp://host/{KEY}",
]  # fmt: skip


def refused(model: type[Any], document: dict[str, Any]) -> str:
    """Everything that a refusal says, to a program and to a person."""
    with pytest.raises(ValidationError) as by_model:
        model.model_validate(document)
    with pytest.raises(ConfigError) as by_file:
        load_settings(model, None, {}, document)
    return f"{by_model.value} {by_file.value}"


@pytest.mark.parametrize("url", WITH_KEY)
@pytest.mark.parametrize(
    ("model", "document"),
    [
        (EngineConfig, {"kind": "tokens", "model": "m", "base_urls": [None]}),
        (EngineConfig, {"kind": "chat", "model": "m", "base_urls": [None]}),
        (RewardModelConfig, {"model": "m", "base_url": None}),
        (SandboxSettings, {"services": [None]}),
        (GenerateConfig, {"dataset": "d", "actor": {"kind": "chat", "model": "m", "base_urls": 0}}),
    ],
)
def test_a_url_with_a_key_is_refused_unquoted(
    model: Any, document: dict[str, Any], url: str
) -> None:
    said = refused(model, filled(document, url))
    assert KEY not in said


def filled(document: Any, url: str) -> Any:
    """The URL in the place that is left open."""
    if isinstance(document, dict):
        return {name: filled(value, url) for name, value in document.items()}
    if isinstance(document, list):
        return [filled(value, url) for value in document]
    return url if document in (None, 0) else document


@pytest.mark.parametrize("url", WITH_KEY[:6])
def test_the_refusal_says_where_a_key_belongs(url: Any) -> None:
    said = refused(EngineConfig, {"kind": "tokens", "model": "m", "base_urls": [url]})
    assert "api_key_env" in said
    assert "query_env" in said


@pytest.mark.parametrize("field", ["api_key_env", "query_env", "header_env"])
@pytest.mark.parametrize("key", ["sk-proj-planted", "hf_planted", "planted", "K=planted", ""])
def test_a_key_in_place_of_its_variable_is_refused_unquoted(field: str, key: str) -> None:
    said = refused(EngineConfig, {field: key if field == "api_key_env" else {"name": key}})
    assert "name of an environment variable" in said
    assert "planted" not in said


@pytest.mark.parametrize("field", ["headers", "query"])
@pytest.mark.parametrize("name", ["api-key", "X-API-Key", "access_token", "sig", "Authorization"])
def test_what_is_called_secret_comes_from_the_environment(field: str, name: str) -> None:
    said = refused(EngineConfig, {field: {name: KEY}})
    assert "query_env" in said
    assert KEY not in said


@pytest.mark.parametrize("field", ["model", "tokenizer"])
def test_a_name_is_no_url(field: str) -> None:
    assert KEY not in refused(EngineConfig, {field: f"https://user:{KEY}@host/m"})


@pytest.mark.parametrize(
    "url", ["http://localhost:8000/v1", "https://host", "http://[::1]:8000/v1/", "http://a.b/c/d-e"]
)
def test_plain_addresses_are_taken(url: str) -> None:
    assert EngineConfig(kind="tokens", model="m", base_urls=[url]).base_urls == (url.rstrip("/"),)
    assert SandboxSettings(services=(url,)).services == (url.rstrip("/"),)


def test_forms_refuse_the_same() -> None:
    """Prefect's server checks parameters by the schema before it stores them."""
    schema = EngineConfig.model_json_schema()["properties"]
    pattern = schema["base_urls"]["items"]["pattern"]
    assert not [url for url in WITH_KEY[:9] if re.search(pattern, url)]
    assert re.search(pattern, "http://localhost:8000/v1")
    [variable] = [one["pattern"] for one in schema["api_key_env"]["anyOf"] if "pattern" in one]
    assert not re.search(variable, "sk-proj-planted")
