"""Prompt sets as files: read once, named by their content, checked against a chat template."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.cli import run
from tests.prompt_folder import TEXTS, write_prompts
from tirgen.embedded.models import MODEL_DIR
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.protocol import Message
from tirgen.engine.renderer import HfRenderer
from tirgen.engine.template import ChatTemplate
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.rollout_config import RolloutConfig
from tirgen.tir.prompt_check import CheckLevel, findings
from tirgen.tir.prompts import (
    PROMPT_SETS,
    BadPrompts,
    PromptSet,
    as_prompts,
    as_setting,
    load_prompts,
)

ELSEWHERE = EngineConfig(kind="tokens", base_urls=["http://x/v1"], model="m")


@pytest.mark.parametrize("name", ["base", "pocket", "standard", "thinking"])
def test_shipped_sets_ask_for_a_box_and_for_python(name: str) -> None:
    found = list(findings(PROMPT_SETS[name], HfRenderer.load(MODEL_DIR)))
    assert {finding.level for finding in found} == {CheckLevel.OK}


def test_the_usual_set_follows_the_actor_and_the_mode() -> None:
    assert GenerateConfig().prompt_set.name == "pocket"
    assert GenerateConfig(actor=ELSEWHERE).prompt_set.name == "standard"
    thinking = GenerateConfig.model_validate({"actor": ELSEWHERE, "mode": "reasoning"})
    assert thinking.prompt_set.name == "thinking"
    assert GenerateConfig.model_validate({"mode": "reasoning"}).prompt_set.name == "pocket"


def test_a_system_message_stands_before_the_question(tmp_path: Path) -> None:
    plain = load_prompts(write_prompts(tmp_path / "own"))
    told = load_prompts(write_prompts(tmp_path / "own", cot_system="Be brief."))
    assert plain.for_cot("1+1?") == (Message("user", "1+1? Answer in \\boxed."),)
    assert told.for_cot("1+1?") == (Message("system", "Be brief."), *plain.for_cot("1+1?"))
    assert told.for_tir("1+1?") == plain.for_tir("1+1?")
    assert told.hash_of("cot") != plain.hash_of("cot")
    assert told.hash_of("tir") == plain.hash_of("tir")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tir": "no placeholder"}, r"tir of the prompt set 'own' has no \{question\}"),
        ({"critic": "{step} of {question}"}, r"critic of .* has \{question\}"),
        ({"citric": "{step}"}, "has citric.txt, which is no prompt"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    tmp_path: Path, changes: dict[str, str], why: str
) -> None:
    with pytest.raises(BadPrompts, match=why):
        load_prompts(write_prompts(tmp_path / "own", **changes))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = write_prompts(tmp_path / "own")
    (folder / "cot.txt").unlink()
    with pytest.raises(ValidationError, match=r"own lacks cot\.txt"):
        GenerateConfig.model_validate({"prompts": str(folder)})


@pytest.mark.parametrize("config", [GenerateConfig, RolloutConfig])
def test_a_run_is_named_by_the_texts_and_not_by_the_folder(
    tmp_path: Path, config: type[GenerateConfig] | type[RolloutConfig]
) -> None:
    def named(folder: Path) -> str:
        return config.model_validate({"prompts": str(folder)}).fingerprint()

    first, moved = write_prompts(tmp_path / "one"), write_prompts(tmp_path / "two")
    changed = write_prompts(tmp_path / "three", critic="With Python: {step}")
    assert named(first) == named(moved)
    assert named(changed) != named(first)
    usual = config()
    by_name = config.model_validate({"prompts": usual.prompt_set.name})
    assert by_name.fingerprint() == usual.fingerprint()


def test_a_configuration_keeps_the_texts_when_the_folder_is_gone(tmp_path: Path) -> None:
    folder = write_prompts(tmp_path / "own", tir_system="Use Python.")
    config = GenerateConfig.model_validate({"prompts": str(folder)})
    shutil.rmtree(folder)
    document = json.loads(config.model_dump_json())
    assert document["prompts"]["critic"] == TEXTS["critic"]
    assert GenerateConfig.model_validate(document) == config


def test_a_shipped_set_is_written_by_its_name() -> None:
    config = GenerateConfig.model_validate({"prompts": "base"})
    assert config.model_dump(mode="json")["prompts"] == "base"
    changed = PromptSet(name="base", **TEXTS)
    assert as_prompts(as_setting(changed)) == changed


def test_the_run_form_takes_a_text() -> None:
    schema = GenerateConfig.model_json_schema()["properties"]["prompts"]
    assert schema["anyOf"] == [{"type": "string"}, {"type": "null"}]


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{ messages[-1]['content'] }}", "the chat template changes the system message"),
        ("{{ raise_exception('no system role') }}", "no system role"),
    ],
)
def test_a_template_that_does_not_keep_the_prompt_fails(
    tmp_path: Path, template: str, found: str
) -> None:
    own = load_prompts(write_prompts(tmp_path / "own", cot_system="Be brief."))
    tokenizer = (MODEL_DIR / "tokenizer.json").read_text()
    renderer = HfRenderer(tokenizer, ChatTemplate(template, {}))
    failed = [each for each in findings(own, renderer) if each.level is CheckLevel.FAIL]
    assert failed[0].prompt == "cot"
    assert found in failed[0].found


def test_prompts_show_renders_with_the_chat_template(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["prompts", "show", "pocket", "--model", str(MODEL_DIR), "--only", "tir", "--json"]
    assert run(asked) == 0
    shown = json.loads(capsys.readouterr().out)
    assert list(shown["examples"]) == ["tir"]
    text = shown["examples"]["tir"]
    assert text.startswith("<|im_start|>user\nWhat is the sum")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_prompts_check_fails_for_a_template_without_a_system_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL_DIR, model)
    (model / "chat_template.jinja").write_text("{{ messages[-1]['content'] }}")
    own = write_prompts(tmp_path / "own", tir_system="Use Python.", cot="{question}?")
    asked = ["prompts", "check", str(own), "--model", str(model), "--json"]
    assert run(asked) == 1
    found = json.loads(capsys.readouterr().out)
    levels = {(each["prompt"], each["level"]) for each in found}
    assert ("tir", "FAIL") in levels
    assert ("cot", "warn") in levels
    assert run(["prompts", "check", str(tmp_path / "nowhere")]) == 2
    assert run(["prompts", "show", "base", "--model", str(model), "--template-variables", "x"]) == 2
