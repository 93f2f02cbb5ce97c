"""Packets that a browser sends for pages of other origins are refused; programs are not asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bits_server.settings import Authentication
from bits_server.web.same_origin import ForeignOrigin, refuse_foreign_origin
from tests.conftest import ClientMaker
from tests.support.bits_client import BitsClient, assert_refused, assert_success

DENIED = "0x80070005"
HOST = {"wsgi.url_scheme": "https", "HTTP_HOST": "files.example.com"}


def is_refused(public_url: str | None = None, **fields: str) -> bool:
    environ: dict[str, Any] = {**HOST, **{f"HTTP_{name}": value for name, value in fields.items()}}
    try:
        refuse_foreign_origin(environ, public_url)
    except ForeignOrigin:
        return True
    return False


def test_a_program_that_says_nothing_is_served() -> None:
    assert not is_refused()


@pytest.mark.parametrize("site", ["same-origin", "none", "Same-Origin"])
def test_our_own_page_and_the_user_himself_are_served(site: str) -> None:
    assert not is_refused(SEC_FETCH_SITE=site)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "same-origin, cross-site"])
def test_every_other_page_is_refused(site: str) -> None:
    assert is_refused(SEC_FETCH_SITE=site)
    assert is_refused(SEC_FETCH_SITE=site, ORIGIN="https://files.example.com")


def test_what_the_browser_says_of_the_site_counts_before_the_origin() -> None:
    """Behind a proxy that changes Host the origin looks like another."""
    assert not is_refused(SEC_FETCH_SITE="same-origin", ORIGIN="https://outside.example.com")


@pytest.mark.parametrize(
    "origin",
    ["https://files.example.com", "HTTPS://FILES.example.com:443", "https://other.example"],
)
def test_without_it_the_origin_must_be_ours(origin: str) -> None:
    is_ours = "files" in origin.lower()
    assert is_refused(ORIGIN=origin) != is_ours


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "", "http://files.example.com", "https://files.example.com:8443", "https://"),
        *("https://files.example.com.evil.example", "https://[", "https://files.example.com:x"),
    ],
)
def test_what_is_nearly_our_origin_is_another(origin: str) -> None:
    assert is_refused(ORIGIN=origin)


def test_the_public_url_is_ours_too() -> None:
    public_url = "https://outside.example.com:443/drop"
    assert not is_refused(public_url, ORIGIN="https://outside.example.com")
    assert is_refused(public_url, ORIGIN="https://elsewhere.example.com")


@pytest.mark.parametrize("override", [None, "BITS_POST"])
def test_a_foreign_page_gets_nothing_done_and_is_told_403(
    client: BitsClient, override: str | None
) -> None:
    client.method = "POST" if override else "BITS_POST"
    own = {"X-HTTP-Method-Override": override}
    foreign = {**own, "Origin": "https://evil.example"}
    assert_success(client.create(**own), status=201 if override else 200)
    session_id = client.session_id
    assert_refused(client.create(**foreign), 403, DENIED)
    refused = client.fragment(b"evil", 0, 4, **foreign)
    assert_refused(refused, 403, DENIED, session_id)
    assert refused["BITS-Received-Content-Range"] == "0"
    assert_refused(client.close(**foreign), 403, DENIED, session_id)
    assert_refused(client.cancel(**foreign), 403, DENIED, session_id)
    assert_refused(client.ping(**foreign), 403, DENIED)
    assert_success(client.fragment(b"good", 0, 4, **own))


def test_a_foreign_page_cannot_have_the_user_asked_for_a_password(
    make_client: ClientMaker, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    users.write_text("")
    client = make_client(authentication=(Authentication.BASIC,), htpasswd_file=str(users))
    assert_refused(client.create(Sec_Fetch_Site="cross-site"), 403, DENIED)


def test_the_browser_that_asks_beforehand_is_given_no_leave(client: BitsClient) -> None:
    fields = [
        ("Origin", "https://evil.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "x-http-method-override"),
    ]
    answer = client.sender.send("OPTIONS", "/upload/f.bin", fields)
    assert not [name for name in answer.headers if name.startswith("access-control")]
