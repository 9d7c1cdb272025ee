"""A model's chat template: rendered here as Hugging Face renders it, and how it writes a turn.

Templates are third-party content, so they run in jinja's sandbox. It keeps a template away from
Python's objects; it does not limit the time or memory that a hostile template can use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tirgen.engine.errors import EngineMisconfigured, EngineRefused

OPEN, CLOSE = "<think>", "</think>"
_QUESTION, _REPLY, _REASONING = "\ufdd1question\ufdd1", "\ufdd1reply\ufdd1", "\ufdd1reasoning\ufdd1"
"""Texts that no template contains."""


class TemplateMissing(EngineMisconfigured):
    """The folder has no chat template, like that of a base model."""


class ChatTemplate:
    """One compiled template with its variables (`bos_token` and the like)."""

    def __init__(self, source: str, variables: Mapping[str, Any]) -> None:
        """Raises `EngineMisconfigured` when the template is not valid jinja."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except Exception as error:
            raise EngineMisconfigured(
                f"The model's chat template does not compile ({_said(error)}); correct "
                "chat_template.jinja beside the tokenizer."
            ) from error
        self.source = source
        self._variables = dict(variables)

    @classmethod
    def load(cls, directory: Path, variables: Mapping[str, Any] | None = None) -> ChatTemplate:
        """The template of a model's folder, with the folder's special tokens as variables.

        Raises `TemplateMissing` when there is none, `EngineMisconfigured` when it is not valid.
        """
        config = {
            **_read_json(directory / "special_tokens_map.json"),
            **_read_json(directory / "tokenizer_config.json"),
        }
        return cls(_source(directory, config), {**_special_names(config), **(variables or {})})

    @property
    def end_token(self) -> str:
        """The token that ends a turn if the template does not write one; empty if unknown."""
        return str(self._variables.get("eos_token", ""))

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True
    ) -> str:
        """The conversation as text, by default up to the opening of the assistant's turn.

        Raises `EngineRefused` when the template rejects this conversation or fails, for whatever
        reason: even running out of memory is then the template's fault.
        """
        named = {**self._variables, "add_generation_prompt": add_generation_prompt}
        try:
            return self._template.render({**named, "messages": messages})
        except Exception as error:
            raise EngineRefused(
                f"The model's chat template cannot render this conversation: {_said(error)}"
            ) from error


class Turn(NamedTuple):
    """The template's own text in an assistant's turn, around thinking and reply.

    A policy is prompted up to the opening of its turn and must write this text itself.
    """

    lead: str
    """Before a reply without thinking."""
    before_thinking: str | None
    """Before the thinking; None if the prompt has closed the thinking already."""
    after_thinking: str
    """Between thinking and reply."""
    end: str
    """After the reply, including the token that ends the turn; empty if there is no such token."""


def find_turn(template: ChatTemplate, tokens: re.Pattern[str], end_token: str) -> Turn:
    """How a template writes a turn, found by rendering one.

    `tokens` matches the tokenizer's special tokens; `end_token` ends the turn if the template
    writes no token there. Raises `EngineRefused` if the template refuses a question and its answer.
    """
    asked: list[dict[str, Any]] = [{"role": "user", "content": _QUESTION}]
    said = {"role": "assistant", "content": _REPLY}
    prompt = template.render(asked)
    plain = template.render([*asked, said], add_generation_prompt=False)
    thought = template.render(
        [*asked, {**said, "reasoning_content": _REASONING}], add_generation_prompt=False
    )
    before, _, after = plain.partition(_REPLY)
    opened, closed = (prompt.rstrip().endswith(mark) for mark in (OPEN, CLOSE))
    end = tokens.search(after)
    return Turn(
        lead=_rest(prompt, before, f"\n{CLOSE}\n\n" if opened else ""),
        before_thinking=None if closed else _before_thinking(prompt, thought, opened),
        after_thinking=_between(thought) or f"\n{CLOSE}\n\n",
        end=after[: end.end()] if end else end_token,
    )


def _rest(prompt: str, written: str, otherwise: str) -> str:
    """What a written turn adds to the prompt."""
    return written.removeprefix(prompt) if written.startswith(prompt) else otherwise


def _before_thinking(prompt: str, thought: str, opened: bool) -> str:
    default = "" if opened else f"{OPEN}\n"
    if _REASONING not in thought:
        return default
    return _rest(prompt, thought.partition(_REASONING)[0], default)


def _between(thought: str) -> str:
    """Empty if the template writes no reasoning."""
    return thought.partition(_REASONING)[2].partition(_REPLY)[0]


def _said(error: Exception) -> str:
    """The template's message, or the type and message of what Python raised."""
    return str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"


class _Generation(Extension):
    """`{% generation %}` marks the assistant's text for training; rendering ignores it."""

    tags = {"generation"}  # noqa: RUF012 - jinja's own interface

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Hugging Face's filter; jinja's own filter escapes HTML characters."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _read_json(file: Path) -> dict[str, Any]:
    """A JSON object of a model's folder; empty if missing. Raises `EngineMisconfigured`."""
    try:
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise EngineMisconfigured(f"{file} is not valid JSON: {error}.") from error
    return content


def _special_names(config: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token` and so on; each value is a string or an object that contains one."""
    named = {key: value for key, value in config.items() if key.endswith("_token") and value}
    contents = {k: v["content"] if isinstance(v, dict) else v for k, v in named.items()}
    return {key: value for key, value in contents.items() if isinstance(value, str)}


def _source(directory: Path, config: Mapping[str, Any]) -> str:
    beside = directory / "chat_template.jinja"
    if beside.is_file():
        return beside.read_text("utf-8")
    source = config.get("chat_template")
    if isinstance(source, list):
        source = next((t["template"] for t in source if t["name"] == "default"), None)
    if not isinstance(source, str):
        raise TemplateMissing(
            f"{directory} has no chat template (chat_template.jinja, or chat_template in "
            "tokenizer_config.json); use an instruction-tuned model or add the file."
        )
    return source
