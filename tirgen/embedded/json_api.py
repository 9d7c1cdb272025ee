"""JSON bodies in and out, and refusals in the error format of vLLM and OpenAI."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

Json = dict[str, Any]
_Request = TypeVar("_Request", bound=BaseModel)
_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    409: "ConflictError",
    415: "UnsupportedMediaTypeError",
    413: "RequestEntityTooLargeError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}


class ApiError(Exception):
    """The server refuses this request; the message says why and what to do."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        """The wrong field, if there is one."""

    def body(self) -> Json:
        kind = _TYPES.get(self.status, "BadRequestError")
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.status,
            }
        }


async def parse(http: web.Request, model: type[_Request] | TypeAdapter[_Request]) -> _Request:
    """The validated body. Raises `ApiError`, which names each wrong field."""
    body = await http.read()
    try:
        if isinstance(model, TypeAdapter):
            return model.validate_json(body)
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from error


def answer(body: Json, status: int = 200) -> web.Response:
    return web.Response(body=dump(body), status=status, content_type="application/json")


def dump(body: Json) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _refusal(error: ValidationError) -> ApiError:
    """The refusal for a body that does not fit its model: every fault with its field."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = dict.fromkeys(_fault(fault["type"], fault["loc"], fault["msg"]) for fault in faults)
    param = str(faults[0]["loc"][0]) if faults[0]["loc"] else None
    return ApiError("; ".join(lines), param=param)


def _fault(kind: str, where: tuple[int | str, ...], message: str) -> str:
    if kind == "extra_forbidden":
        name = ".".join(map(str, where))
        return (
            f"the embedded engine does not support the field '{name}' (docs/serving.md lists the "
            "supported ones): leave it out or use vLLM"
        )
    if not where:
        return message.removeprefix("Value error, ")
    return f"'{where[0]}': {message}"
