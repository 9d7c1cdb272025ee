"""Run forms: a few fields, and all settings folded below them, empty until someone fills them in.

Prefect's form shows a default for each field and sends all of them, chosen or not. With the paper's
defaults in the form, a model of a million parameters would train with the learning rate of one with
billions, and the pocket would think within the budget of a large model. So every setting is empty
at first. Prefect shows a parameter that may be null as one line, until its other type is chosen:
so a flow's `config` is a form or None.
"""

from __future__ import annotations

from typing import Annotated, Any, Optional, get_args

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo


def form_of(settings: type[BaseModel]) -> type[BaseModel]:
    """A model with the same fields, types and bounds, in which every field may be empty."""
    fields: dict[str, Any] = {
        name: (_open(field), Field(None, description=field.description))
        for name, field in settings.model_fields.items()
    }
    form: type[BaseModel] = create_model(
        f"{settings.__name__}Form",
        __config__=ConfigDict(extra="forbid", frozen=True),
        __doc__=settings.__doc__,
        **fields,
    )
    return form


def filled_in(form: BaseModel | None) -> dict[str, Any]:
    """The settings that a person filled in, by dotted name; none of a form that stayed folded."""
    found: dict[str, Any] = {}
    if form is None:
        return found
    for name in type(form).model_fields:
        value = getattr(form, name)
        if isinstance(value, BaseModel) and type(value).__name__.endswith("Form"):
            found |= {f"{name}.{inner}": chosen for inner, chosen in filled_in(value).items()}
        elif value is not None:
            found[name] = value
    return found


def _open(field: FieldInfo) -> Any:
    """The type of a field, or None. A nested model, also an optional one, becomes a form."""
    for kind in (field.annotation, *_alternatives(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return form_of(kind) | None
    bounded: Any = field.annotation
    for bound in field.metadata:
        bounded = Annotated[bounded, bound]
    return Optional[bounded]  # noqa: UP045 - a value of the annotation, not an expression


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union with None."""
    members = get_args(annotation)
    return members if type(None) in members else ()
