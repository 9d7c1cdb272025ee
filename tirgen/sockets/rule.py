"""Who may ask a server of this project anything: one rule for all of them, whatever serves HTTP.

A server stands on loopback unless it has a secret. A request must name it by an address or by a
name that it was given (DNS rebinding needs another name), must not come from a page of another
origin (WebSockets included), must declare JSON where it has a body (what else a page can send
needs no preflight) and not compress it, and must prove that it knows the secret, where there is
one.

`aiohttp_guard` and `asgi_guard` put the rule before an application. Not covered: TLS, and other
programs of the same user on the same machine, who can read the secret as the server can.
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
"""Names, separated by commas, under which clients reach this machine's servers."""
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_PORTS = {"http": 80, "https": 443}


class Asked(NamedTuple):
    """What the rule looks at of a request."""

    method: str
    """Upper case."""
    path: str
    """Decoded, without the query."""
    headers: Mapping[str, Sequence[str]]
    """Every value, by the name in lower case."""
    is_websocket: bool = False

    @staticmethod
    def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
        """`headers`, from pairs in any case."""
        headers: dict[str, list[str]] = {}
        for name, value in pairs:
            headers.setdefault(name.lower(), []).append(value)
        return headers


class Refusal(NamedTuple):
    """Why a request is not served."""

    status: int
    """403 for where it comes from, 400 or 415 for its body, 401 without the secret."""
    message: str


class Authority(NamedTuple):
    """A host and a port in one spelling."""

    name: str
    port: int | None


def _always(asked: Asked) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Rule:
    """What one server asks of every request."""

    names: frozenset[str]
    """Host names that it goes by, in lower case; addresses always do."""
    secrets: tuple[str, ...] = ()
    """Values of the header Authorization, any of which opens it; none: no secret is asked for."""
    cookie: tuple[str, str] | None = None
    """Name and value of a cookie that opens it as well."""
    guards: Callable[[Asked], bool] = _always
    """Which requests need the secret."""

    def refusal(self, asked: Asked) -> Refusal | None:
        """Why it is not served, or None."""
        return self._of_place(asked) or self._of_body(asked) or self._of_stranger(asked)

    def _of_place(self, asked: Asked) -> Refusal | None:
        host = _host(asked)
        if host is None or not (host.name in self.names or _is_address(host.name)):
            return Refusal(
                403,
                "this server does not go by that host name: ask for its address or localhost, or "
                f"list the name in {HOSTS_VARIABLE} where the server is started",
            )
        if not (_same_origin(asked, host) and _from_own_page(asked)):
            return Refusal(403, "a page of another origin may not ask this server anything")
        return None

    def _of_body(self, asked: Asked) -> Refusal | None:
        if any(coding != "identity" for coding in asked.headers.get("content-encoding", [])):
            return Refusal(400, "a body must be sent as it is, without a Content-Encoding")
        if _has_body(asked) and not _is_json(asked.headers.get("content-type", [])):
            return Refusal(415, "a body must be JSON: send 'Content-Type: application/json'")
        return None

    def _of_stranger(self, asked: Asked) -> Refusal | None:
        if not self.secrets or not self.guards(asked) or self._knows(asked):
            return None
        return Refusal(
            401,
            f"the secret is missing or wrong: send '{self._wanted} …', or open the link that was "
            "printed where this server was started",
        )

    @property
    def _wanted(self) -> str:
        return f"Authorization: {self.secrets[0].split()[0]}"

    def _knows(self, asked: Asked) -> bool:
        given = asked.headers.get("authorization", [])
        if len(given) == 1 and any(_equal(_scheme_as_ours(given[0]), own) for own in self.secrets):
            return True
        return self.cookie is not None and any(
            _equal(value, self.cookie[1]) for value in _cookies(asked, self.cookie[0])
        )


def bearer(token: str) -> str:
    """The header that carries a token."""
    return f"Bearer {token}"


def basic(login: str) -> str:
    """The header that carries ``user:password``."""
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def names_of(host: str) -> frozenset[str]:
    """What a server that listens at `host` goes by."""
    given = os.environ.get(HOSTS_VARIABLE, "").split(",")
    names = {name.strip().lower().rstrip(".") for name in ("localhost", host, *given)}
    return frozenset(names - {""})


def require_secret(host: str, has_secret: bool, hint: str) -> None:
    """Raises `ConfigError`, with the hint, for a server beyond loopback that has none."""
    if not has_secret and not is_loopback(host):
        raise ConfigError(f"{host} is reachable from other machines, so it needs a secret: {hint}")


def is_loopback(host: str) -> bool:
    """Only this machine reaches it; a name but localhost may be anywhere."""
    name = host.strip("[]").lower().rstrip(".")
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def address_of(host: str, port: int) -> str:
    """The root of a server, as a URL."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _host(asked: Asked) -> Authority | None:
    given = asked.headers.get("host", [])
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


def _same_origin(asked: Asked, host: Authority) -> bool:
    given = asked.headers.get("origin", [])
    if not given:
        return True
    scheme, _, rest = given[0].partition("://")
    origin = _authority(rest)
    if len(given) > 1 or origin is None or scheme not in _PORTS:
        return False
    port = _PORTS[scheme]
    return (origin.name, origin.port or port) == (host.name, host.port or port)


def _from_own_page(asked: Asked) -> bool:
    """What the browser says of the page behind a request; a link that is followed may be anywhere.

    Without this, another page could still load images and scripts from here, which say no origin.
    """
    sites = asked.headers.get("sec-fetch-site", [])
    if all(site in ("same-origin", "none") for site in sites):
        return True
    kind = [asked.headers.get(f"sec-fetch-{name}", []) for name in ("mode", "dest")]
    return asked.method in ("GET", "HEAD") and kind == [["navigate"], ["document"]]


def _has_body(asked: Asked) -> bool:
    lengths = asked.headers.get("content-length", [])
    return "transfer-encoding" in asked.headers or any(length != "0" for length in lengths)


def _is_json(types: Sequence[str]) -> bool:
    return len(types) == 1 and types[0].partition(";")[0].strip().lower() == "application/json"


def _cookies(asked: Asked, name: str) -> list[str]:
    pairs = [pair for line in asked.headers.get("cookie", []) for pair in line.split(";")]
    split = [pair.strip().partition("=") for pair in pairs]
    return [value for given, _, value in split if given == name]


def _scheme_as_ours(header: str) -> str:
    """Schemes are spelled in any case."""
    scheme, _, rest = header.partition(" ")
    return f"{scheme.capitalize()} {rest.strip()}"


def _equal(given: str, own: str) -> bool:
    # what is no UTF-8 in a header arrives as surrogates
    return hmac.compare_digest(given.encode(errors="surrogateescape"), own.encode())
