"""The rule itself, request by request."""

from __future__ import annotations

from typing import Any

import pytest

from tirgen.settings import ConfigError
from tirgen.sockets.rule import (
    RequestHead,
    SocketRule,
    address_of,
    basic,
    bearer,
    is_loopback,
    names_of,
    require_secret,
)

RULE = SocketRule(names_of("127.0.0.1"))
OWN = {"Host": "127.0.0.1:4200"}


def status(
    rule: SocketRule = RULE,
    method: str = "GET",
    path: str = "/",
    *,
    headers: dict[str, str] | list[tuple[str, str]],
    websocket: bool = False,
) -> int:
    pairs = headers.items() if isinstance(headers, dict) else headers
    refusal = rule.refusal(RequestHead(method, path, RequestHead.grouped(pairs), websocket))
    return refusal.status if refusal else 200


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:4200", "127.0.0.1", "localhost:1", "LOCALHOST", "localhost.:80", "[::1]:4200",
     "10.0.0.7:4200", "[fe80::1]"],
)  # fmt: skip
def test_an_address_and_its_own_names_are_its_own(host: str) -> None:
    assert status(headers={"Host": host}) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4200", "127.0.0.1.evil.example", "localhost.evil.example", "",
     "2130706433", "0x7f000001", "127.1", "127.0.0.1:4200:1", "a@127.0.0.1", "127.0.0.1/", "[::1",
     "127.0.0.1, evil.example", "::1", "127.0.0.1:x", "localhost..", "evil.example\x00127.0.0.1"],
)  # fmt: skip
def test_a_name_that_a_stranger_points_here_is_not(host: str) -> None:
    assert status(headers={"Host": host}) == 403


def test_one_host_is_named_and_no_other() -> None:
    assert status(headers={}) == 403
    assert status(headers=[("Host", "127.0.0.1"), ("host", "127.0.0.1")]) == 403


def test_further_names_are_those_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIRGEN_ALLOWED_HOSTS", "prefect, Box.Lan.")
    rule = SocketRule(names_of("0.0.0.0"))
    assert status(rule, headers={"Host": "prefect:4200"}) == 200
    assert status(rule, headers={"Host": "box.lan"}) == 200
    assert status(rule, headers={"Host": "other:4200"}) == 403


@pytest.mark.parametrize("websocket", [False, True])
@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.2:4200", "http://127.0.0.1:4201", "", "file://",
     "http://localhost:4200", "http://127.0.0.1", "ftp://127.0.0.1:4200", "127.0.0.1:4200",
     "chrome-extension://127.0.0.1:4200", "http://127.0.0.1:4200.evil.example",
     "http://127.0.0.1:4200@evil.example", "http://evil.example#@127.0.0.1:4200"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD", "DELETE"])
def test_no_page_of_another_origin_is_answered(method: str, origin: str, websocket: bool) -> None:
    headers = OWN | {"Origin": origin}
    assert status(method=method, headers=headers, websocket=websocket) == 403


@pytest.mark.parametrize(
    ("host", "origin"),
    [("127.0.0.1:4200", "http://127.0.0.1:4200"), ("localhost", "http://localhost:80"),
     ("[::1]:4200", "http://[::1]:4200"), ("127.0.0.1", "https://127.0.0.1")],
)  # fmt: skip
def test_its_own_pages_are(host: str, origin: str) -> None:
    assert status(method="POST", headers={"Host": host, "Origin": origin}) == 200


def test_two_origins_are_none() -> None:
    own = ("Origin", "http://127.0.0.1:4200")
    assert status(headers=[*OWN.items(), own, own]) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_pages_may_link_here_but_load_nothing(site: str) -> None:
    def fetched(mode: str, dest: str, method: str = "GET") -> int:
        given = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
        return status(method=method, headers=OWN | given)

    assert fetched("navigate", "document") == 200
    assert fetched("navigate", "document", "POST") == 403
    for mode, dest in (("no-cors", "script"), ("no-cors", "image"), ("navigate", "iframe")):
        assert fetched(mode, dest) == 403


@pytest.mark.parametrize("body", [{"Content-Length": "2"}, {"Transfer-Encoding": "chunked"}])
def test_a_body_is_json_or_refused(body: dict[str, Any]) -> None:
    def posted(**headers: str) -> int:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return status(method="POST", headers=OWN | body | given)

    assert posted() == 415
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "a,b", ""):
        assert posted(content_type=kind) == 415
    assert posted(content_type="Application/JSON; charset=utf-8") == 200
    twice = [*OWN.items(), *body.items(), *[("Content-Type", "application/json")] * 2]
    assert status(method="POST", headers=twice) == 415


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "gzip, gzip", "x", ""])
def test_a_compressed_body_is_refused_unread(coding: str) -> None:
    json = {"Content-Type": "application/json", "Content-Length": "9"}
    assert status(method="POST", headers=OWN | json | {"Content-Encoding": coding}) == 400
    assert status(method="POST", headers=OWN | json | {"Content-Encoding": "identity"}) == 200


def test_no_body_needs_no_type() -> None:
    assert status(method="POST", headers=OWN) == 200
    assert status(method="POST", headers=OWN | {"Content-Length": "0"}) == 200


def test_the_secret_opens_and_nothing_like_it() -> None:
    rule = SocketRule(names_of("::1"), (bearer("s3cret"), basic("u:s3cret")), ("mine", "c00kie"))
    known = [
        {"Authorization": "Bearer s3cret"}, {"Authorization": "bearer  s3cret"},
        {"Authorization": basic("u:s3cret")}, {"Cookie": "a=b;mine=c00kie; c=d"},
    ]  # fmt: skip
    strangers = [
        {}, {"Authorization": "s3cret"}, {"Authorization": "Bearer S3CRET"},
        {"Authorization": "Bearer é\udcff"}, {"Cookie": "mine=x"}, {"Cookie": "other=c00kie"},
        {"Authorization": "Bearer "}, {"Cookie": "mine="}, {"Cookie": "xmine=c00kie"},
    ]  # fmt: skip
    assert [status(rule, headers=OWN | headers) for headers in known] == [200] * len(known)
    assert [status(rule, headers=OWN | headers) for headers in strangers] == [401] * len(strangers)
    twice = [*OWN.items(), *[("Authorization", "Bearer s3cret")] * 2]
    assert status(rule, headers=twice) == 401


def test_the_secret_does_not_open_to_another_origin() -> None:
    rule = SocketRule(names_of("::1"), (bearer("s3cret"),))
    known = OWN | {"Authorization": "Bearer s3cret"}
    assert status(rule, headers=known | {"Origin": "http://evil.example"}) == 403
    assert status(rule, headers=known | {"Host": "evil.example"}) == 403


def test_only_what_is_guarded_asks_for_the_secret() -> None:
    rule = SocketRule(names_of("::1"), (bearer("s"),), guards=lambda asked: asked.path != "/health")
    assert status(rule, path="/health", headers=OWN) == 200
    assert status(rule, path="/health/", headers=OWN) == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "box.lan", "localhost.lan", ""])
def test_beyond_loopback_a_secret_is_needed(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="needs a secret: give one"):
        require_secret(host, False, "give one")
    require_secret(host, True, "give one")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"])
def test_on_loopback_none_is(host: str) -> None:
    require_secret(host, False, "")


def test_an_address_is_a_url() -> None:
    assert address_of("::1", 8000) == "http://[::1]:8000"
    assert address_of("127.0.0.1", 8000) == "http://127.0.0.1:8000"
