"""The pocket behind a URL, as if it were vLLM; and what is said where nothing is kept."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.cli import run
from flows.terminal.report import explained
from storage.records import Ending, FilterVerdict
from tests.rows import row
from tirgen.embedded.local import embedded_server
from tirgen.embedded.models import MODEL_DIR, THINKING_DIR, is_pocket, tokenizer_source
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.settings import load_settings


def served(**actor: Any) -> GenerateConfig:
    engine = {"kind": "tokens", "base_urls": ["http://127.0.0.1:1/v1"]} | actor
    return GenerateConfig.model_validate({"actor": engine})


@pytest.mark.parametrize("folder", [MODEL_DIR, THINKING_DIR])
def test_the_pocket_is_told_by_its_tokenizer_under_any_name(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "policy")
    assert is_pocket(copy)
    assert served(model="my-policy", tokenizer=str(copy)).prompt_set.name == "pocket"
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["another"] = len(tokenizer["model"]["vocab"])
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert not is_pocket(copy)
    assert served(model="my-policy", tokenizer=str(copy)).prompt_set.name == "standard"


def test_a_served_model_that_is_called_pocket_needs_no_tokenizer() -> None:
    config = served(model="pocket")
    assert (tokenizer_source(config.actor), config.prompt_set.name) == (str(MODEL_DIR), "pocket")
    other = served(model="Qwen/Qwen3-8B")
    assert (tokenizer_source(other.actor), other.prompt_set.name) == ("Qwen/Qwen3-8B", "standard")


def test_tokenizers_have_flags() -> None:
    from tirgen.engine.engine_config import engine_settings

    settings = engine_settings("actor", ["http://h/v1"], "m", "/t") | engine_settings(
        "critic", ["http://h/v1"], "n", "/u"
    )
    config = load_settings(GenerateConfig, None, settings)
    assert (config.actor.tokenizer, config.critic.tokenizer) == ("/t", "/u")


async def test_the_pocket_behind_a_url_keeps_as_the_embedded_one_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with embedded_server() as url:
        engines = ["--actor", url, "--actor-model", "pocket"]
        engines += ["--critic", url, "--critic-model", "pocket", "--store", str(tmp_path), "--json"]
        code = await asyncio.to_thread(run, ["generate", "--limit", "8", *engines])
        report = json.loads(capsys.readouterr().out)
        assert code == 0
        assert report["kept"] > 0
        assert await asyncio.to_thread(run, ["doctor", *engines]) == 0
    found = {finding["check"]: finding["found"] for finding in json.loads(capsys.readouterr().out)}
    assert found["tokenizer (actor)"] == f"{MODEL_DIR} (the pocket's)"
    assert found["prompts"] == "the set 'pocket'"


def test_a_run_that_keeps_nothing_fails_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["generate", "--limit", "2", "--set", "prompts=standard", "--store", str(tmp_path)]
    assert run([*asked, "--set", "attempts=1"]) == 1
    err = capsys.readouterr().err
    assert "no trajectory was kept:" in err
    assert err.splitlines()[-1].startswith("next: tirgen")
    assert run([*asked, "--set", "attempts=1", "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["advice"]) == 2


def test_the_rule_that_drops_most_decides_the_advice() -> None:
    def dropped(rule: str, ending: Ending, attempt: int) -> Any:
        return replace(
            row(attempt=attempt, ending=ending), filters=(FilterVerdict(rule=rule, kept=False),)
        )

    rows = [dropped("format", Ending.OFF_FORMAT, n) for n in range(3)]
    rows += [dropped("program", Ending.FINISHED, n) for n in range(9)]  # baselines
    rows += [dropped("correct", Ending.FINISHED, 4)]
    said, next_step = explained(rows, "tir@v1")
    assert said.startswith(
        "no trajectory was kept: 3 of 4 attempts end as off_format, and the rule"
    )
    assert "format drops 3" in said
    assert "tokenizer and prompt set" in next_step
    failed = [dropped("finished", Ending.EXECUTION_FAILED, n) for n in range(5)]
    said, next_step = explained([*rows, *failed], "tir@v1")
    assert said.endswith("the rule finished drops 5; likely the critic's programs fail")
    assert "from failures" in next_step
