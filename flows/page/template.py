"""The pages' files: templates whose every value is escaped, and what stands beside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from storage.text import visible


@cache
def text_of(name: str) -> str:
    """A file of this folder."""
    return (files("flows.page") / name).read_text(encoding="utf-8")


def page_template(name: str, **filters: Callable[..., Any]) -> Template:
    """A template with the filter `shown`, for text that is not trusted, and `filters`."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"shown": visible, **filters}
    return environment.from_string(text_of(name))
