"""The base of every configuration of this project, of data and of training."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class BaseSettings(BaseModel):
    """Unknown fields are errors, docstrings are descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _keep_defaults(cls, document: Any) -> Any:
        """A table that gives some settings keeps the others as its owner's default has them."""
        if not isinstance(document, dict):
            return document
        defaults = {name: field.default for name, field in cls.model_fields.items()}
        owned = {
            name: merged(defaults[name].model_dump(exclude_unset=True), table)
            for name, table in document.items()
            if isinstance(table, dict) and isinstance(defaults.get(name), BaseModel)
        }
        return {**document, **owned}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` over `base`; a table in both is merged setting by setting."""
    tables = {name for name in base.keys() & over.keys() if isinstance(over[name], dict)}
    return {**base, **over, **{name: {**base[name], **over[name]} for name in tables}}
