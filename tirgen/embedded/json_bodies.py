"""JSON in and out of the pocket's routes."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

from tirgen.embedded.errors import from_validation

Json = dict[str, Any]
_Request = TypeVar("_Request", bound=BaseModel)


async def parse(http: web.Request, model: type[_Request] | TypeAdapter[_Request]) -> _Request:
    """The validated body. Raises `Refusal` naming each field at fault."""
    body = await http.read()
    try:
        if isinstance(model, TypeAdapter):
            return model.validate_json(body)
        return model.model_validate_json(body)
    except ValidationError as error:
        raise from_validation(error) from error


def answer(body: Json) -> web.Response:
    return web.Response(body=dump(body), content_type="application/json")


def dump(body: Json) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
