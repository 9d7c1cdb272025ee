"""Why a request was refused, in the error shape of vLLM and OpenAI."""

from __future__ import annotations

import json

from aiohttp import web
from pydantic import ValidationError

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


class Refusal(Exception):
    """This request cannot be served; the message says why and what to do."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        """The field at fault, if it is one."""

    def response(self) -> web.Response:
        return web.Response(
            text=json.dumps(self.body()), status=self.status, content_type="application/json"
        )

    def body(self) -> dict[str, object]:
        kind = _TYPES.get(self.status, "BadRequestError")
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.status,
            }
        }


def from_validation(error: ValidationError) -> Refusal:
    """The refusal for a body that does not fit its model: every fault, each with its field."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = dict.fromkeys(_fault(fault["type"], fault["loc"], fault["msg"]) for fault in faults)
    param = str(faults[0]["loc"][0]) if faults[0]["loc"] else None
    return Refusal("; ".join(lines), param=param)


def _fault(kind: str, where: tuple[int | str, ...], message: str) -> str:
    if kind == "extra_forbidden":
        name = ".".join(map(str, where))
        return (
            f"the field '{name}' is not one the pocket engine honours (docs/serving.md lists "
            "them): leave it out or use vLLM"
        )
    if not where:
        return message.removeprefix("Value error, ")
    return f"'{where[0]}': {message}"
