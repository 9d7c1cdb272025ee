"""Which requests the servers of this project accept: one rule for all of them.

A server without a secret listens on loopback only. A request is accepted if

- its Host is an address or a configured name (DNS rebinding needs another name),
- it does not come from a web page of another origin, WebSockets included,
- its body is JSON and not compressed (a browser sends other types without a preflight request),
- it has the secret, if the server has one.

`aiohttp_guard` and `asgi_guard` apply the rule before an application. Not covered: TLS, and other
programs of the same user on the same machine, which can read the secret.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tirgen.settings import ConfigError

HOSTS_VARIABLE = "TIRGEN_ALLOWED_HOSTS"
"""Environment variable with more host names of this machine, separated by commas."""
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_PORTS = {"http": 80, "https": 443}


class RequestHead(NamedTuple):
    """The parts of a request that the rule checks."""

    method: str
    """Upper case."""
    path: str
    """Decoded, without the query."""
    headers: Mapping[str, Sequence[str]]
    """All values of each header, by its name in lower case."""
    is_websocket: bool = False

    @staticmethod
    def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
        """`headers`, from pairs in any case."""
        headers: dict[str, list[str]] = {}
        for name, value in pairs:
            headers.setdefault(name.lower(), []).append(value)
        return headers


class RefusedRequest(NamedTuple):
    """Why a request is refused."""

    status: int
    """403 for host or origin, 400 or 415 for the body, 401 for a missing secret."""
    message: str


class Authority(NamedTuple):
    """A normalised host and port."""

    name: str
    port: int | None


def _always(head: RequestHead) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class SocketRule:
    """The rule of one server."""

    names: frozenset[str]
    """Accepted host names in lower case; addresses are always accepted."""
    secrets: tuple[str, ...] = ()
    """Accepted values of the header Authorization; if empty, no secret is required."""
    cookie: tuple[str, str] | None = None
    """Name and value of a cookie that is accepted as well."""
    guards: Callable[[RequestHead], bool] = _always
    """Which requests need the secret; by default all."""

    def refusal(self, head: RequestHead) -> RefusedRequest | None:
        """Why the request is refused; None if it is accepted."""
        return self._wrong_origin(head) or self._wrong_body(head) or self._wrong_secret(head)

    def _wrong_origin(self, head: RequestHead) -> RefusedRequest | None:
        host = _host(head)
        if host is None or not (host.name in self.names or _is_address(host.name)):
            return RefusedRequest(
                403,
                "this server does not have that host name: use its address or localhost, or list "
                f"the name in {HOSTS_VARIABLE} where the server is started",
            )
        if not (_same_origin(head, host) and _from_own_page(head)):
            return RefusedRequest(403, "web pages of another origin are refused")
        return None

    def _wrong_body(self, head: RequestHead) -> RefusedRequest | None:
        if any(coding != "identity" for coding in head.headers.get("content-encoding", [])):
            return RefusedRequest(400, "a body must be sent without a Content-Encoding")
        if _has_body(head) and not _is_json(head.headers.get("content-type", [])):
            return RefusedRequest(415, "a body must be JSON: send 'Content-Type: application/json'")
        return None

    def _wrong_secret(self, head: RequestHead) -> RefusedRequest | None:
        if not self.secrets or not self.guards(head) or self._knows(head):
            return None
        return RefusedRequest(
            401,
            f"the secret is missing or wrong: send '{self._wanted} …', or open the link that the "
            "server printed at its start",
        )

    @property
    def _wanted(self) -> str:
        return f"Authorization: {self.secrets[0].split()[0]}"

    def _knows(self, head: RequestHead) -> bool:
        given = head.headers.get("authorization", [])
        if len(given) == 1 and any(
            _equal(_capitalised_scheme(given[0]), own) for own in self.secrets
        ):
            return True
        return self.cookie is not None and any(
            _equal(value, self.cookie[1]) for value in _cookies(head, self.cookie[0])
        )


def bearer(token: str) -> str:
    """The header value for a token."""
    return f"Bearer {token}"


def basic(login: str) -> str:
    """The header value for ``user:password``."""
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def names_of(host: str) -> frozenset[str]:
    """The accepted host names of a server that listens at `host`."""
    given = os.environ.get(HOSTS_VARIABLE, "").split(",")
    names = {name.strip().lower().rstrip(".") for name in ("localhost", host, *given)}
    return frozenset(names - {""})


def require_secret(host: str, has_secret: bool, hint: str) -> None:
    """Raises `ConfigError` with the hint if a server beyond loopback has no secret."""
    if not has_secret and not is_loopback(host):
        raise ConfigError(f"{host} is reachable from other machines, so it needs a secret: {hint}")


def is_loopback(host: str) -> bool:
    """Only this machine can reach the host; of all names only localhost counts as loopback."""
    name = host.strip("[]").lower().rstrip(".")
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def address_of(host: str, port: int) -> str:
    """The root of a server, as a URL."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _host(head: RequestHead) -> Authority | None:
    given = head.headers.get("host", [])
    return _authority(given[0]) if len(given) == 1 else None


def _authority(text: str) -> Authority | None:
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    name = found[1].strip("[]").lower().removesuffix(".")
    return Authority(name, int(found[2]) if found[2] else None)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(head: RequestHead, host: Authority) -> bool:
    given = head.headers.get("origin", [])
    if not given:
        return True
    scheme, _, rest = given[0].partition("://")
    origin = _authority(rest)
    if len(given) > 1 or origin is None or scheme not in _PORTS:
        return False
    port = _PORTS[scheme]
    return (origin.name, origin.port or port) == (host.name, host.port or port)


def _from_own_page(head: RequestHead) -> bool:
    """By the browser's headers about the page that sends a request; following a link is allowed.

    Without this check another page could load images and scripts, which have no Origin header.
    """
    sites = head.headers.get("sec-fetch-site", [])
    if all(site in ("same-origin", "none") for site in sites):
        return True
    kind = [head.headers.get(f"sec-fetch-{name}", []) for name in ("mode", "dest")]
    return head.method in ("GET", "HEAD") and kind == [["navigate"], ["document"]]


def _has_body(head: RequestHead) -> bool:
    lengths = head.headers.get("content-length", [])
    return "transfer-encoding" in head.headers or any(length != "0" for length in lengths)


def _is_json(types: Sequence[str]) -> bool:
    return len(types) == 1 and types[0].partition(";")[0].strip().lower() == "application/json"


def _cookies(head: RequestHead, name: str) -> list[str]:
    pairs = [pair for line in head.headers.get("cookie", []) for pair in line.split(";")]
    split = [pair.strip().partition("=") for pair in pairs]
    return [value for given, _, value in split if given == name]


def _capitalised_scheme(header: str) -> str:
    """The scheme of a header can be in any case."""
    scheme, _, rest = header.partition(" ")
    return f"{scheme.capitalize()} {rest.strip()}"


def _equal(given: str, own: str) -> bool:
    # bytes of a header that are not UTF-8 arrive as surrogates
    return hmac.compare_digest(given.encode(errors="surrogateescape"), own.encode())
