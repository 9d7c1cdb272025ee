"""A link that opens a server in a browser: a code with a time limit, exchanged for a cookie.

The code is after the ``#``, which browsers do not send, so no log contains it. Browsers send the
cookie to every port of the host; each server accepts only its own cookie.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field

from tirgen.sockets.secret import derived

PATH = "/tirgen/open"
LINK_SECONDS = 3600.0
"""How long an unused link works."""
_SCRIPT = """\
const answer = await fetch(location.pathname, {
  method: "POST", headers: {"Content-Type": "application/json"},
  body: JSON.stringify({code: location.hash.slice(1)}),
});
if (answer.ok) {
  const {password} = await answer.json();
  if (password) localStorage.setItem("prefect-password", password);
  location.replace("/");
} else {
  document.body.textContent = await answer.text();
}
"""
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
PAGE = (
    '<!doctype html><meta charset="utf-8"><title>tirgen</title><body>Opening …'
    f'<script type="module">{_SCRIPT}</script>'
)
PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; script-src 'sha256-{_HASH}'; "
    "connect-src 'self'",
    "Cache-Control": "no-store",
}


@dataclass(slots=True)
class LoginLink:
    """Exchanges codes for a cookie."""

    secret: str
    """The key of the codes."""
    cookie: tuple[str, str]
    """Name and value."""
    password: str | None = None
    """For Prefect's pages, which call their API with it: ``user:password`` in base64."""
    once: bool = True
    """Each code works once."""
    _used: set[str] = field(default_factory=set)

    def answer(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to a page that sends its code."""
        try:
            code = str(json.loads(body)["code"])
        except (ValueError, TypeError, LookupError, RecursionError):
            code = ""
        if code in self._used or not _is_good(self.secret, code):
            text = "This link was used or is too old. Run the command again for another link."
            return 403, {"Content-Type": "text/plain; charset=utf-8"}, text.encode()
        if self.once:
            self._used.add(code)
        name, value = self.cookie
        headers = {
            "Content-Type": "application/json",
            "Set-Cookie": f"{name}={value}; Path=/; HttpOnly; SameSite=Strict",
            "Cache-Control": "no-store",
        }
        return 200, headers, json.dumps({"password": self.password}).encode()


def link(root: str, secret: str, seconds: float = LINK_SECONDS) -> str:
    """A URL that opens the server at `root` during the next `seconds`."""
    stem = f"{time.time() + seconds:.0f}.{secrets.token_urlsafe(8)}"
    return f"{root}{PATH}#{stem}.{derived(secret, stem)}"


def _is_good(secret: str, code: str) -> bool:
    stem, _, proof = code.rpartition(".")
    expected = derived(secret, stem)
    if not hmac.compare_digest(proof.encode(errors="replace"), expected.encode()):
        return False
    return time.time() < float(stem.partition(".")[0])
