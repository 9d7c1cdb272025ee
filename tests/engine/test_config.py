from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.embedded.tiny_model import write_tiny_model
from tests.engine.conftest import Peer
from tirgen.embedded.models import (
    MODEL_DIR,
    engine_identity,
    is_pocket_engine,
    model_label,
)
from tirgen.engine.engine_config import EngineConfig, Precision
from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.protocol import Prompt, Sampling
from tirgen.engine.tokens import TokenEngine
from tirgen.jobs.engines import open_engine
from tirgen.jobs.generate_config import GenerateConfig

COUNT = Sampling(max_tokens=60, temperature=0.0)


@pytest.fixture
def config(peer: Peer, model_dir: Path) -> EngineConfig:
    return EngineConfig(
        kind="tokens", base_urls=[peer.url], model="tiny", tokenizer=str(model_dir), max_tries=3
    )


def changed(config: EngineConfig, **update: object) -> EngineConfig:
    return EngineConfig.model_validate({**config.model_dump(), **update})


async def sentence(config: EngineConfig) -> str:
    with pytest.raises(EngineMisconfigured) as caught:
        async with open_engine(config):
            pass
    return str(caught.value)


async def test_an_engine_opens_and_answers(config: EngineConfig, prompt: Prompt) -> None:
    async with open_engine(config) as engine:
        completion = await engine.complete(prompt, COUNT)
    assert completion.ended_turn
    assert engine.server == "peer/9.9"


async def test_the_probe_finds_what_the_server_does(config: EngineConfig) -> None:
    async with open_engine(config) as engine:
        assert isinstance(engine, TokenEngine)
        found = engine.capabilities
    assert found.max_model_len == 512
    assert found.neutral_fields == {"repetition_penalty": 1.0, "min_p": 0.0}


NEEDED_FIELDS = {
    *("model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop"),
    *("include_stop_str_in_output", "logprobs", "return_token_ids"),
}


async def test_fields_the_server_refuses_are_not_sent(
    config: EngineConfig, peer: Peer, prompt: Prompt
) -> None:
    peer.known_fields = {*NEEDED_FIELDS, "min_p"}
    async with open_engine(config) as engine:
        assert (await engine.complete(prompt, COUNT)).ended_turn
    assert "repetition_penalty" not in peer.requests[-1]


@pytest.mark.parametrize("field", ["seed", "top_k", "return_token_ids"])
async def test_a_server_that_refuses_what_is_needed_is_refused(
    config: EngineConfig, peer: Peer, field: str
) -> None:
    peer.known_fields = NEEDED_FIELDS - {field}
    said = await sentence(config)
    assert "cannot serve token ids" in said
    assert field in said


async def test_a_wrong_address_is_one_sentence(config: EngineConfig) -> None:
    said = await sentence(changed(config, base_urls=["http://127.0.0.1:1/v1"]))
    assert said.startswith("No engine at http://127.0.0.1:1/v1: The connection to")
    assert said.endswith("Start the server or correct `base_urls`.")


async def test_a_forgotten_v1_is_one_sentence(config: EngineConfig) -> None:
    said = await sentence(changed(config, base_urls=[config.base_urls[0].removesuffix("/v1")]))
    assert "it ends in /v1 for most servers" in said


async def test_a_wrong_model_names_those_there_are(config: EngineConfig) -> None:
    said = await sentence(changed(config, model="tinny"))
    assert "has no model 'tinny'; set `model` to one of: tiny." in said


async def test_a_missing_key_names_its_variable(
    config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PEER_KEY", raising=False)
    said = await sentence(changed(config, api_key_env="PEER_KEY"))
    assert "PEER_KEY is not set" in said


@pytest.mark.parametrize("kind", ["tokens", "chat"])
async def test_a_refused_key_is_a_sentence_without_it(
    config: EngineConfig, peer: Peer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    peer.key = "right"
    monkeypatch.setenv("PEER_KEY", "sk-secret")
    said = await sentence(changed(config, kind=kind, api_key_env="PEER_KEY"))
    assert "api_key_env" in said
    assert "sk-secret" not in said


async def test_the_key_comes_from_the_environment(
    config: EngineConfig, peer: Peer, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.key = "sk-secret"
    monkeypatch.setenv("PEER_KEY", "sk-secret")
    async with open_engine(changed(config, api_key_env="PEER_KEY")) as engine:
        await engine.complete(prompt, COUNT)
    assert peer.headers[-1]["Authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize(
    "alter",
    [
        lambda choice: choice.pop("token_ids"),
        lambda choice: choice.update(logprobs=None),
        lambda choice: choice["token_ids"].append(5),
    ],
)
async def test_a_server_without_exact_tokens_is_refused(
    config: EngineConfig, peer: Peer, alter: Any
) -> None:
    peer.alter = alter
    assert "cannot serve token ids" in await sentence(config)


async def test_a_template_that_renders_no_plain_question_is_refused(
    config: EngineConfig, model_dir: Path, tmp_path: Path
) -> None:
    strange = shutil.copytree(model_dir, tmp_path / "strange")
    template = "{{ raise_exception('a system message is needed') }}"
    (strange / "chat_template.jinja").write_text(template)
    said = await sentence(changed(config, tokenizer=str(strange)))
    assert "a system message is needed" in said


async def test_a_server_that_ignores_stop_strings_is_refused(
    config: EngineConfig, peer: Peer
) -> None:
    peer.honours_stop = False
    assert "does not support `stop`" in await sentence(config)


async def test_a_server_that_cuts_the_stop_string_off_is_refused(
    config: EngineConfig, peer: Peer
) -> None:
    def cut(choice: dict[str, Any]) -> None:
        if choice["stop_reason"]:
            choice["text"] = choice["text"].removesuffix(choice["stop_reason"])

    peer.alter = cut
    assert "does not support `stop`" in await sentence(config)


async def test_a_chat_endpoint_opens_and_answers(config: EngineConfig, prompt: Prompt) -> None:
    async with open_engine(changed(config, kind="chat", tokenizer=None)) as engine:
        completion = await engine.complete(Prompt(messages=prompt.messages), COUNT)
    assert completion.ended_turn
    assert engine.renderer is None


async def test_a_chat_endpoint_with_a_wrong_model_is_one_sentence(config: EngineConfig) -> None:
    assert "no such model" in await sentence(changed(config, kind="chat", model="tinny"))


async def test_a_chat_endpoint_at_a_wrong_address_is_one_sentence(config: EngineConfig) -> None:
    said = await sentence(changed(config, kind="chat", base_urls=["http://127.0.0.1:1/v1"]))
    assert "Start the server or correct `base_urls`" in said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "tokens"}, "needs base_urls and model"),
        ({"kind": "embedded", "base_urls": ["http://x/v1"]}, "the embedded engine is started"),
        ({"kind": "chat", "base_urls": ["localhost:8000"], "model": "m"}, "is not a URL"),
        (
            {"kind": "chat", "base_urls": ["http://a:b@x/v1"], "model": "m"},
            "name it in api_key_env",
        ),
        ({"api_key": "sk-secret"}, "Extra inputs are not permitted"),
    ],
)
def test_a_bad_configuration_says_why(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        EngineConfig(**fields)


def test_identity_leaves_address_and_pace_out(config: EngineConfig) -> None:
    elsewhere = changed(config, base_urls=["http://other/v1"], concurrency=3, timeout_seconds=9)
    assert elsewhere.identity() == config.identity()
    assert changed(config, model="other").identity() != config.identity()


@pytest.mark.parametrize("kind", ["tokens", "chat"])
async def test_a_key_in_the_query_comes_from_the_environment(
    kind: str, config: EngineConfig, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEER_QUERY", "planted/key")
    asked = config.model_copy(
        update={"kind": kind, "query": {"v": "1"}, "query_env": {"api-key": "PEER_QUERY"}}
    )
    async with open_engine(asked):
        pass
    assert peer.queries
    assert all(query == {"v": "1", "api-key": "planted/key"} for query in peer.queries)
    assert "planted" not in asked.model_dump_json()


async def test_a_server_that_quotes_the_query_tells_nobody(
    config: EngineConfig, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEER_QUERY", "planted/key")
    peer.key = "another"
    said = await sentence(changed(config, query_env={"api-key": "PEER_QUERY"}))
    assert "bad key" in said
    assert "planted" not in said


@pytest.mark.parametrize(
    ("engine", "pocket"),
    [
        ({}, True),
        ({"model": "pocket-thinking"}, True),
        ({"kind": "tokens", "tokenizer": str(MODEL_DIR)}, True),
        ({"model": "{other}"}, False),
        ({"kind": "tokens", "tokenizer": "{other}"}, False),
        ({"kind": "tokens"}, False),
        ({"kind": "chat"}, False),
    ],
)
def test_the_pocket_is_known_by_its_tokenizer_wherever_it_runs(
    tmp_path: Path, engine: dict[str, str], pocket: bool
) -> None:
    """Its prompts are its own: another model asked with them, or it with others, fails."""
    write_tiny_model(tmp_path)
    fields: dict[str, Any] = {
        name: value.replace("{other}", str(tmp_path)) for name, value in engine.items()
    }
    if "kind" in fields:
        fields |= {"base_urls": ["http://127.0.0.1:1/v1"], "model": "served"}
    config = EngineConfig.model_validate(fields)
    assert is_pocket_engine(config) is pocket
    asked = GenerateConfig(dataset="d", actor=config).prompt_set.name
    assert asked == ("pocket" if pocket else "standard")


def test_a_model_of_the_embedded_engine_goes_by_its_folder(tmp_path: Path) -> None:
    published = tmp_path / "policies" / "pupil" / "versions" / "v3"
    assert model_label(EngineConfig()) == "pocket"
    assert model_label(EngineConfig(model="pocket-thinking")) == "pocket-thinking"
    assert model_label(EngineConfig(model=str(tmp_path / "smollm2"))) == "smollm2"
    assert model_label(EngineConfig(model=str(published))) == "pupil@v3"


def test_what_the_embedded_engine_computes_in_names_the_run_and_its_threads_do_not() -> None:
    plain = engine_identity(EngineConfig())
    assert engine_identity(EngineConfig(threads=2)) == plain
    assert engine_identity(EngineConfig(precision=Precision.INT8)) != plain
