"""A model's chat template, rendered on the client the way Hugging Face renders it.

Templates are third-party content, so they run in jinja's sandbox. The sandbox stops a template
from reaching Python's objects; it does not bound the time or memory a hostile template can burn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tirgen.engine.errors import EngineMisconfigured, EngineRefused


class TemplateMissing(EngineMisconfigured):
    """The folder holds no chat template, as that of a base model."""


class ChatTemplate:
    """One compiled template with the variables it may always use (`bos_token` and the like)."""

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
        """The template of a model's folder, with the folder's own special tokens by name.

        Raises `EngineMisconfigured` when there is none or it is not valid.
        """
        config = {
            **_read_json(directory / "special_tokens_map.json"),
            **_read_json(directory / "tokenizer_config.json"),
        }
        return cls(_source(directory, config), {**_special_names(config), **(variables or {})})

    @property
    def end_token(self) -> str:
        """What the model ends with where its template does not say; empty where unknown."""
        return str(self._variables.get("eos_token", ""))

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True
    ) -> str:
        """The conversation as text, by default up to the opening of the assistant's turn.

        Raises `EngineRefused` when the template rejects this conversation, or fails at it: whatever
        a template raises, out of memory and too deep recursion included, is its own.
        """
        named = {**self._variables, "add_generation_prompt": add_generation_prompt}
        try:
            return self._template.render({**named, "messages": messages})
        except Exception as error:
            raise EngineRefused(
                f"The model's chat template cannot render this conversation: {_said(error)}"
            ) from error


def _said(error: Exception) -> str:
    """The template's own words; what Python raises has a name that says more."""
    return str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; rendering passes through."""

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
    """Hugging Face's filter: jinja's own would escape HTML characters."""
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
    """An object of a model's folder; empty where there is none. Raises `EngineMisconfigured`."""
    try:
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise EngineMisconfigured(f"{file} is not valid JSON: {error}.") from error
    return content


def _special_names(config: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token` and its kin; each is a string or an object holding one."""
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
