"""The base of every configuration, and reading one from a file and flags."""

from __future__ import annotations

import json
import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from storage.documents import fingerprint
from storage.settings import BaseSettings, merged

Count = Annotated[int, Field(ge=1)]
ExactDigits = Annotated[
    int | None,
    Field(
        ge=1,
        le=15,
        description="Significant digits from which on a decimal may stand for an exact gold "
        "answer, such as 6 for 0.333333 as 1/3. Default: only a float printed in full may.",
    ),
]
"""The setting of the same name of the verifier."""


_PLAIN_URL = r"^https?://[^\s/@?#\\]+(/[^\s@?#\\]*)?$"
"""A URL without the parts that can hold a key; forms and Prefect's server check it too."""


_VARIABLE = r"^[A-Z_][A-Z0-9_]*$"


def _server_url(url: str) -> str:
    """Raises ValueError without quoting the URL, since it can hold a key."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, named = urlsplit(""), False
    if "@" in url or "?" in url or "#" in url:
        raise ValueError(
            "URLs are written into configurations and logs, so they must have no user, password, "
            "query or fragment: put a key into an environment variable and name it in api_key_env "
            "(or query_env, if the server needs it in the query; what is not secret goes into "
            "query), and the token of a sandbox into TIRGEN_SANDBOX_TOKEN"
        )
    if parts.scheme not in ("http", "https") or not named or not re.match(_PLAIN_URL, url):
        raise ValueError("this is not a URL like http://localhost:8000/v1")
    return url.rstrip("/")


ServerUrl = Annotated[
    str, AfterValidator(_server_url), Field(json_schema_extra={"pattern": _PLAIN_URL})
]
"""Address of a server, without secrets."""


def _variable(name: str) -> str:
    """Raises ValueError without quoting the name, since it can be a key."""
    if not re.match(_VARIABLE, name):
        raise ValueError(
            "this must be the name of an environment variable, in capitals; the secret itself "
            "belongs into that variable"
        )
    return name


Variable = Annotated[
    str, AfterValidator(_variable), Field(json_schema_extra={"pattern": _VARIABLE})
]
"""Name of an environment variable that holds a secret."""


def _not_a_url(name: str) -> str:
    if "://" in name:
        raise ValueError("this must be a name or a folder, not a URL; addresses go into base_urls")
    return name


NameOrFolder = Annotated[str, AfterValidator(_not_a_url)]


class ConfigError(Exception):
    """The configuration is wrong; the message names each wrong field and what it can be."""


class Settings(BaseSettings):
    """Base of every configuration but the trainer's."""

    model_config = ConfigDict(
        validate_default=True,
        hide_input_in_errors=True,  # never quote a key that is in the wrong field
    )

    def identity(self) -> Any:
        """The settings that decide the results, as JSON values; by default all settings."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """Equal for configurations that make the same rows; it names their run."""
        return fingerprint(self.identity())


class JobSettings(Settings):
    """Base of the configuration of every job, which makes rows of a dataset."""

    dataset: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    exact_digits: ExactDigits = None


S = TypeVar("S", bound=BaseModel)


def load_settings(
    model: type[S],
    path: Path | None,
    overrides: dict[str, Any],
    base: dict[str, Any] | None = None,
) -> S:
    """A configuration from `base`, then a TOML or JSON file, then `overrides`; the last one wins.

    Tables of base and file are merged setting by setting. `overrides` maps dotted names to values;
    None means not given. Raises `ConfigError`.
    """
    document = merged(base or {}, _read(path) if path else {})
    for name, value in overrides.items():
        if value is not None:
            _set(document, name.split("."), value)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        lines = [f"  {_explained(model, item)}" for item in error.errors()]
        where = f"in {path} or on the command line" if path else "on the command line"
        raise ConfigError(f"bad configuration {where}:\n" + "\n".join(lines)) from None


def _explained(model: type[BaseModel], item: ErrorDetails) -> str:
    """One error of pydantic, in plain words."""
    names = [str(part) for part in item["loc"]]
    where, said = ".".join(names) or "configuration", item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        near = get_close_matches(names[-1], _settings_beside(model, names[:-1]), 1)
        meant = f"; did you mean {'.'.join([*names[:-1], *near])}?" if near else ""
        return f"{where}: there is no such setting{meant}"
    if item["type"] == "string_pattern_mismatch":
        return f"{where}: {item['input']!r} has characters that are not allowed: {said}"
    return f"{where}: {said}"


def _settings_beside(model: type[BaseModel], path: list[str]) -> list[str]:
    """The settings of the table at `path`; none if it is not a table."""
    for name in path:
        field = model.model_fields.get(name)
        kinds = get_args(field.annotation) or (field.annotation,) if field else ()
        tables = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not tables:
            return []
        model = tables[0]
    return list(model.model_fields)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration {path} cannot be parsed: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"the configuration {path} is not a table of settings")
    return document


def _set(document: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        document = document.setdefault(part, {})
        if not isinstance(document, dict):
            raise ConfigError(f"{'.'.join(path)}: {part} is a value in the file, not a table")
    document[path[-1]] = value
