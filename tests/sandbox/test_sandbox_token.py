"""The token that a service makes: only the same user on this machine finds it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import aiohttp
import pytest

from storage.records import Outcome
from tirgen.sandbox.contract import Limits, SandboxUnavailable
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.remote import RemoteSandbox
from tirgen.sandbox.service import serving
from tirgen.sandbox.token import served_token, token_file, token_of
from tirgen.sockets.secret import SecretExposed


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for variable in ("TIRGEN_SANDBOX_TOKEN", "TIRGEN_SANDBOX_TOKEN_FILE"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def test_it_is_made_once_and_private() -> None:
    made = served_token()
    assert served_token() == made
    assert stat.S_IMODE(token_file().stat().st_mode) == 0o600


def test_only_this_machines_services_are_shown_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = served_token()
    for url in ("http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080"):
        assert token_of(url) == made
    for url in ("http://10.0.0.7:8080", "http://localhost.evil.example", "http://host"):
        assert token_of(url) is None
    monkeypatch.setenv("TIRGEN_SANDBOX_TOKEN", "given")
    assert token_of("http://host") == "given"


def test_one_that_others_can_read_is_refused() -> None:
    served_token()
    token_file().chmod(0o644)
    with pytest.raises(SecretExposed):
        token_of("http://127.0.0.1:8080")


async def test_a_client_of_the_same_user_needs_no_setting_and_another_is_told_which(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with serving(LocalSandbox(slots=1), token=served_token()) as address:
        async with RemoteSandbox([address]) as remote:
            assert (await remote.run("print(1)", Limits())).outcome is Outcome.OK
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
        with pytest.raises(SandboxUnavailable, match="put it into TIRGEN_SANDBOX_TOKEN"):
            async with RemoteSandbox([address]):
                pass


@pytest.mark.parametrize("token", [None, "t0ken"])
async def test_what_a_web_page_can_send_runs_nothing(tmp_path: Path, token: str | None) -> None:
    """With the floor posix a program could write to the host."""
    ran = tmp_path / "ran"
    program = json.dumps({"code": f"open({str(ran)!r}, 'w')"}).encode()
    page = {"Content-Type": "application/json", "Authorization": "Bearer t0ken"}
    sent = [
        page | {"Content-Type": "text/plain"}, page | {"Origin": "http://127.0.0.2:9"},
        page | {"Host": "evil.example"}, page | {"Origin": "null"},
        page | {"Content-Type": "text/plain;application/json"},
        page | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ]  # fmt: skip
    async with (
        serving(LocalSandbox(mode="posix", slots=1), token=token) as address,
        aiohttp.ClientSession(address) as client,
    ):
        for headers in sent:
            for path in ("/run_code", "/sessions/x/run"):
                async with client.post(path, data=program, headers=headers) as answer:
                    assert answer.status in (403, 415), headers
        assert not ran.exists()
        async with client.post("/run_code", data=program, headers=page) as answer:
            assert answer.status == 200
        assert ran.exists(), "what is refused above does run when a friend sends it"
