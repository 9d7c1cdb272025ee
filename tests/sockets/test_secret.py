"""Secrets in files, and links that open a server once."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tirgen.sockets.login_link import PAGE, PAGE_HEADERS, LoginLink, link
from tirgen.sockets.secret import SecretExposed, derived, keep_secret, new_secret, read_secret


def test_a_secret_is_its_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "service" / "secret"
    path.parent.mkdir(mode=0o755)
    made = keep_secret(path, new_secret())
    assert keep_secret(path, new_secret()) == read_secret(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


def test_many_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: keep_secret(path, new_secret()), range(32)))
    assert made == {read_secret(path)}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_secret_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    keep_secret(path, "s")
    path.chmod(mode)
    with pytest.raises(SecretExposed, match=f"chmod 600 {path}"):
        read_secret(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_secret_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    keep_secret(path, "planted")
    os.chown(path, 1000, 1000)
    with pytest.raises(SecretExposed):
        read_secret(path)


def test_no_file_and_an_empty_one_hold_none(tmp_path: Path) -> None:
    assert read_secret(tmp_path / "none") is None


def entrance() -> LoginLink:
    return LoginLink("s3cret", ("name", "value"), "cGFzcw==")


def handed_in(code: str) -> bytes:
    return json.dumps({"code": code}).encode()


def code_of(address: str) -> str:
    return address.partition("#")[2]


def test_a_link_opens_once() -> None:
    door, address = entrance(), link("http://127.0.0.1:1", "s3cret")
    assert address.startswith("http://127.0.0.1:1/tirgen/open#")
    status, headers, body = door.answer(handed_in(code_of(address)))
    assert (status, json.loads(body)) == (200, {"password": "cGFzcw=="})
    assert headers["Set-Cookie"] == "name=value; Path=/; HttpOnly; SameSite=Strict"
    status, headers, body = door.answer(handed_in(code_of(address)))
    assert status == 403
    assert "Set-Cookie" not in headers
    assert b"cGFzcw" not in body


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b'{"code": null}', b"\xff", b"[" * 5000, handed_in(""),
     handed_in("9e9.x.y"), handed_in("9e9"), handed_in("\udcff"), handed_in("é.é")],
)  # fmt: skip
def test_anything_else_opens_nothing(body: bytes) -> None:
    assert entrance().answer(body)[0] == 403


def test_an_old_link_and_one_of_another_server_open_nothing() -> None:
    assert entrance().answer(handed_in(code_of(link("", "s3cret", -1))))[0] == 403
    assert entrance().answer(handed_in(code_of(link("", "other"))))[0] == 403


def test_a_link_tells_nothing_of_the_secret() -> None:
    assert "s3cret" not in link("", "s3cret")
    assert derived("a", "x") != derived("a", "y") != derived("b", "y")


def test_the_page_runs_its_own_script_only() -> None:
    assert "'unsafe-inline'" not in PAGE_HEADERS["Content-Security-Policy"]
    assert "s3cret" not in PAGE
