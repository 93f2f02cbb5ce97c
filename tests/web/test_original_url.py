"""The destination URL as the client knows it."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server import VirtualDirectory
from bits_server.web.original_url import original_url

PLAIN = VirtualDirectory("/up load", "/srv/uploads")
PUBLIC = VirtualDirectory("/up load", "/srv/uploads", public_url="https://files.example.com/up/")


def environ(target: str, **changes: Any) -> dict[str, Any]:
    """As gunicorn has it for a request target."""
    path, _, query = target.partition("?")
    return {
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "bits.test:8080",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8080",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": target,
        **changes,
    }


@pytest.mark.parametrize(
    "target",
    [
        "/up%20load/f.bin",
        "/up%20load/%66.bin?a=1&b=%20?c",
        "/up%20load/a/b/gr%C3%B6%c3%9fe",
        "/up%20load/~a;b=c,d'e(f)",
    ],
)
def test_the_clients_own_spelling_is_kept(target: str) -> None:
    assert original_url(environ(target), PLAIN) == f"http://bits.test:8080{target}"
    below = target.removeprefix("/up%20load")
    assert original_url(environ(target), PUBLIC) == f"https://files.example.com/up{below}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"RAW_URI": ""}, "http://bits.test:8080/up%20load/f"),
        ({"RAW_URI": "http://other/up%20load/f"}, "http://bits.test:8080/up%20load/f"),
        ({"RAW_URI": "/elsewhere"}, "http://bits.test:8080/up%20load/f"),
        ({"SCRIPT_NAME": "/app"}, "http://bits.test:8080/app/up%20load/f"),
        ({"wsgi.url_scheme": "https"}, "https://bits.test:8080/up%20load/f"),
        ({"HTTP_HOST": "bits.test:80"}, "http://bits.test/up%20load/f"),
    ],
)
def test_what_no_server_tells_is_made_from_what_it_decoded(
    changes: dict[str, str], expected: str
) -> None:
    assert original_url(environ("/up%20load/f", **changes), PLAIN) == expected


def test_without_a_host_the_servers_own_name_is_taken() -> None:
    given_environ = environ("/up%20load/f")
    del given_environ["HTTP_HOST"]
    assert original_url(given_environ, PLAIN) == "http://127.0.0.1:8080/up%20load/f"


def test_a_slash_that_was_encoded_does_not_confuse_where_the_directory_ends() -> None:
    directory = VirtualDirectory("/a/b", "/srv/uploads", public_url="https://files/x")
    assert original_url(environ("/a%2Fb/c%2Fd"), directory) == "https://files/x/c/d"
    assert original_url(environ("/a/b/c%2Fd"), directory) == "https://files/x/c%2Fd"


def test_of_the_root_all_is_below() -> None:
    directory = VirtualDirectory("/", "/srv/uploads", public_url="https://files/x")
    assert original_url(environ("/a/b?c"), directory) == "https://files/x/a/b?c"


latin = st.text(st.characters(max_codepoint=255), max_size=30)


@given(latin, latin, latin, st.sampled_from([PLAIN, PUBLIC]))
def test_the_result_can_always_be_a_header_field(
    path: str, query: str, host: str, directory: VirtualDirectory
) -> None:
    given_environ = environ("/up%20load/" + path, QUERY_STRING=query, HTTP_HOST=host)
    url = original_url(given_environ, directory)
    assert all("!" <= character <= "~" for character in url)
