"""``tirgen prompts``: what a prompt set asks, as a model reads it, and whether it can be used."""

from __future__ import annotations

import json as json_format
import sys
from typing import Any

from rich.text import Text

from flows.commands.options import Json
from flows.terminal.console import print_json, show
from flows.terminal.failures import WORK_FAILED
from flows.terminal.tables import show_rows
from storage.text import safe_text
from tirgen.engine.renderer import HfRenderer
from tirgen.settings import ConfigError
from tirgen.tir.prompt_check import CheckLevel, example, findings
from tirgen.tir.prompts import PLACEHOLDERS, Part, PromptSet, find_prompts


def show_command(
    prompts: str,
    /,
    *,
    model: str | None = None,
    template_variables: str = "{}",
    only: Part | None = None,
    json: Json = False,
) -> None:
    """Show one example of each prompt of a set, as a model reads it.

    With a model, the text is what its chat template makes of it, special tokens included.

    Examples of use:

        tirgen prompts show standard --only critic

        tirgen prompts show ./my-prompts --model Qwen/Qwen3-8B
        --template-variables '{"enable_thinking": false}'

    Parameters
    ----------
    prompts
        Name of a shipped set (standard, thinking, base, pocket), or a folder.
    model
        Folder or Hugging Face id of a model; by default the messages are shown as they are.
    template_variables
        Variables of the chat template, as JSON.
    only
        Only this prompt: cot, tir or critic.
    """
    found = find_prompts(prompts)
    renderer = _renderer(model, template_variables)
    parts = [only] if only else list(PLACEHOLDERS)
    examples = {part: _example(found, part, renderer) for part in parts}
    if json:
        print_json({"name": found.name, "digest": found.digest, "examples": examples})
        return
    for part, text in examples.items():
        show(Text(f"── {part} · {found.hash_of(part)} ──", style="bold"))
        show(safe_text(text))


def check_command(
    prompts: str,
    /,
    *,
    model: str | None = None,
    template_variables: str = "{}",
    json: Json = False,
) -> None:
    """Check a set's files, and that a model's chat template keeps them; exit 1 when it fails.

    Example: tirgen prompts check ./my-prompts --model ./Qwen2.5-Math-7B-Instruct

    Parameters
    ----------
    prompts
        Name of a shipped set (standard, thinking, base, pocket), or a folder.
    model
        Folder or Hugging Face id of a model, whose template and tokenizer are checked too.
    template_variables
        Variables of the chat template, as JSON.
    """
    found = list(findings(find_prompts(prompts), _renderer(model, template_variables)))
    rows: list[dict[str, Any]] = [finding._asdict() for finding in found]
    if json:
        print_json(rows)
    else:
        show_rows(rows, f"Prompt set {prompts}")
    if any(finding.level is CheckLevel.FAIL for finding in found):
        sys.exit(WORK_FAILED)


def _example(prompts: PromptSet, part: Part, renderer: HfRenderer | None) -> str:
    messages = example(prompts, part)
    if renderer is not None:
        return renderer.shown(renderer.prompt_ids(messages))
    return "\n\n".join(f"{message.role}:\n{message.content}" for message in messages)


def _renderer(model: str | None, template_variables: str) -> HfRenderer | None:
    """Raises ConfigError and EngineMisconfigured."""
    try:
        variables = json_format.loads(template_variables)
    except ValueError as error:
        raise ConfigError(f"--template-variables is no JSON: {error}") from None
    if not isinstance(variables, dict):
        raise ConfigError("--template-variables is no JSON object of names and values")
    return HfRenderer.load(model, variables) if model else None
