"""What server and server application say to each other, as values."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server.protocol.errors import ApplicationAnswerMalformed, ApplicationRefused
from bits_server.protocol.notifications import (
    NotificationRequest,
    NotificationResponse,
    is_absolute_url,
    with_query,
)

GUID = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"
URL = "http://host/upload/f.bin?a=1&b=c?d"


def read(status: int = 200, **fields: str) -> NotificationResponse:
    named = {name.replace("_", "-").lower(): value for name, value in fields.items()}
    return NotificationResponse.read(status, lambda name: named.get(name.lower()))


def test_by_value_the_application_gets_the_url_and_the_session() -> None:
    request = NotificationRequest(GUID, URL, entity_length=5)
    assert dict(request.header_fields()) == {
        "BITS-Original-Request-URL": URL,
        "BITS-Session-Id": GUID,
    }


def test_by_reference_it_gets_the_paths_too_as_bytes_of_utf_8() -> None:
    request = NotificationRequest(
        GUID, URL, request_path="/srv/größe/request", response_path="/srv/\udcff/response"
    )
    fields = dict(request.header_fields())
    assert fields["BITS-Request-DataFile-Name"].encode("latin-1") == "/srv/größe/request".encode()
    assert fields["BITS-Response-DataFile-Name"].encode("latin-1") == b"/srv/\xff/response"


@pytest.mark.parametrize("status", [200, 201, 204, 206, 299])
def test_every_status_of_the_2xx_class_is_success(status: int) -> None:
    assert read(status) == NotificationResponse(status)


@pytest.mark.parametrize("status", [100, 199, 300, 302, 404, 500, 999])
def test_every_other_status_is_a_refusal(status: int) -> None:
    with pytest.raises(ApplicationRefused) as caught:
        read(status, BITS_Static_Response_URL="relative")
    assert caught.value.application_status == status


@pytest.mark.parametrize("value", ["", "1", "0", "false", "no"])
def test_any_value_asks_for_the_copy_even_none(value: str) -> None:
    assert read(BITS_Copy_File_To_Destination=value).copies_to_destination
    assert not read().copies_to_destination


@pytest.mark.parametrize(
    "url", ["http://host/reply", "HTTPS://[::1]:80/%7Ba%7D?b#c", "http://h/" + "x" * 2191]
)
def test_a_static_url_is_kept_as_it_is(url: str) -> None:
    assert read(BITS_Static_Response_URL=url).static_response_url == url


@pytest.mark.parametrize("url", ["", " ", "\t"])
def test_an_empty_static_url_is_none(url: str) -> None:
    assert read(BITS_Static_Response_URL=url).static_response_url is None


@pytest.mark.parametrize(
    "url",
    [
        *("/reply", "reply", "//host/reply", "http:/host", "http:", "http://", "host.com/reply"),
        *("http://host/a b", "http://host/\r\nX: y", "http://host/größe", "1http://host/"),
        "http://h/" + "x" * 2192,
    ],
)
def test_a_static_url_that_no_client_could_use_is_the_applications_error(url: str) -> None:
    with pytest.raises(ApplicationAnswerMalformed, match="absolute URL"):
        read(BITS_Static_Response_URL=url, BITS_Copy_File_To_Destination="")


@given(st.text())
def test_what_is_sent_to_a_client_cannot_end_its_line(text: str) -> None:
    if is_absolute_url(text):
        assert re.fullmatch(r"[!-~]{1,2200}", text)


@pytest.mark.parametrize(
    ("url", "original", "expected"),
    [
        ("http://app/", "http://h/f", "http://app/"),
        ("http://app/", "http://h/f?", "http://app/"),
        ("http://app/?k=v", "http://h/f", "http://app/?k=v"),
        ("http://app/h", "http://h/f?a=1&b", "http://app/h?a=1&b"),
        ("http://app/h?k=v", "http://h/f?a=1?b", "http://app/h?k=v&a=1?b"),
    ],
)
def test_the_query_string_of_the_destination_is_appended(
    url: str, original: str, expected: str
) -> None:
    assert with_query(url, NotificationRequest(GUID, original).query) == expected
