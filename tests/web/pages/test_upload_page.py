"""What GET at a virtual directory answers: the page where it is on, and otherwise nothing new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from bits_server import Settings, VirtualDirectory, create_app
from bits_server.settings import Authentication
from bits_server.web.pages.page_files import FILES, PROTECTION


def client_of(folder: Path, url: str = "/upload", **settings: Any) -> Client:
    directory = VirtualDirectory(url, str(folder), **{"upload_page": True, **settings})
    return Client(create_app(Settings((directory,)), clean_up=False))


POLICY = "Content-Security-Policy"  # of that page a stricter one, which names its one style
PAGE = "/upload/"
STYLE = "/upload/BITS-Sessions/.page/shared.css"
FACTS = "/upload/BITS-Sessions/.page/facts.json"


def test_the_page_and_its_files_are_served(folder: Path) -> None:
    client = client_of(folder)
    page = client.get(PAGE)
    assert page.status_code == 200
    assert page.data == (FILES / "upload.html").read_bytes()
    assert dict(page.headers).items() >= PROTECTION.items()
    assert client.get(STYLE).data == (FILES / "shared.css").read_bytes()
    head = client.head(PAGE)
    assert (head.status_code, head.data) == (200, b"")


@pytest.mark.parametrize("settings", [{"upload_page": False}, {"upload_enabled": False}])
def test_where_it_is_off_all_is_as_without(folder: Path, settings: dict[str, Any]) -> None:
    client = client_of(folder, **settings)
    statuses = [client.get(each).status_code for each in (PAGE, "/upload", STYLE, FACTS)]
    assert statuses == [405, 405, 404, 404]


@pytest.mark.parametrize(
    "path", ["/upload/f.bin", "/upload/folder/", "/upload/upload.html", "/uploads/", "/upload//"]
)
def test_no_other_path_is_the_page(folder: Path, path: str) -> None:
    assert client_of(folder).get(path).status_code in (404, 405)


@pytest.mark.parametrize(
    "name", ["BITS-Sessions", "BITS-Sessions/.page", "BITS-Sessions/.page/../x", "bits-sessions/"]
)
def test_nothing_else_of_the_sessions_is_served(folder: Path, name: str) -> None:
    assert client_of(folder).get(f"/upload/{name}").status_code == 404


@pytest.mark.parametrize(
    ("url", "location"),
    [("/upload", "./upload/"), ("/a/größe 1", "./gr%C3%B6%C3%9Fe%201/"), ("/a:b", "./a%3Ab/")],
)
def test_without_its_slash_the_page_is_found_too(folder: Path, url: str, location: str) -> None:
    """So that what it names relatively is found."""
    answer = client_of(folder, url).get(url)
    assert answer.status_code == 307
    assert answer.headers["Location"] == location


def test_the_page_of_a_virtual_directory_that_has_all_urls(folder: Path) -> None:
    client = client_of(folder, "/")
    assert client.get("/").data == (FILES / "upload.html").read_bytes()
    assert client.get("/BITS-Sessions/.page/shared.css").status_code == 200


def test_the_page_knows_the_limits(folder: Path) -> None:
    answer = client_of(folder, maximum_upload_size=1 << 40).get(FACTS)
    assert answer.json == {
        "user": "",
        "maximumUploadSize": 1 << 40,
        "maximumFragmentSize": 64 << 20,
    }
    assert client_of(folder).get(FACTS).json["maximumUploadSize"] is None  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "status"),
    [(PAGE, 200), (STYLE, 200), (FACTS, 200), ("/upload", 307), (f"{STYLE}/..", 404)],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_answer_is_protected(folder: Path, method: str, path: str, status: int) -> None:
    answer = client_of(folder).open(path, method=method)
    assert answer.status_code == status
    assert dict(answer.headers).items() >= PROTECTION.items()


def test_only_who_may_upload_sees_the_page(folder: Path, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("alice:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n")  # of the empty password
    client = client_of(
        folder,
        authentication=(Authentication.BASIC,),
        htpasswd_file=str(users),
        basic_without_tls=True,
    )
    for path in (PAGE, "/upload", STYLE, FACTS):
        answer = client.get(path)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert b"You are not signed in" in answer.data
        assert (
            dict(answer.headers).items() >= {**PROTECTION, POLICY: answer.headers[POLICY]}.items()
        )
