"""The files of the pages: what is sent, what each answer forbids, and what the files keep to."""

from __future__ import annotations

import re
from typing import Any

import pytest
from werkzeug.test import create_environ, run_wsgi_app
from werkzeug.wrappers import Response

from bits_server.web.pages.page_files import FILES, PROTECTION, PageFiles, json_answer

PAGE_FILES = PageFiles()


def sent(response: Response, **options: Any) -> tuple[int, dict[str, str], bytes]:
    app_iter, status, headers = run_wsgi_app(response, create_environ(**options), buffered=True)
    return int(status.split()[0]), dict(headers), b"".join(app_iter)


@pytest.mark.parametrize("name", PAGE_FILES.names())
def test_a_file_is_sent_as_it_is_with_its_type(name: str) -> None:
    status, headers, body = sent(PAGE_FILES.answer(name, create_environ()))
    assert status == 200
    assert body == (FILES / name).read_bytes()
    suffix = name.rpartition(".")[2]
    kinds = {"js": "text/javascript", "svg": "image/svg+xml"}
    assert headers["Content-Type"] == f"{kinds.get(suffix, f'text/{suffix}')}; charset=utf-8"


def test_every_file_of_the_folder_is_of_a_type_that_is_sent() -> None:
    assert sorted(PAGE_FILES.names()) == sorted(file.name for file in FILES.iterdir())


@pytest.mark.parametrize("name", ["", ".", "..", "../page_files.py", "none.js", "upload.html\0"])
def test_what_is_no_file_of_the_pages_is_not_found(name: str) -> None:
    status, headers, body = sent(PAGE_FILES.answer(name, create_environ()))
    assert (status, body) == (404, b"")
    assert headers.items() >= PROTECTION.items()


def test_a_file_that_the_browser_has_is_not_sent_again() -> None:
    _, headers, _ = sent(PAGE_FILES.answer("shared.css", create_environ()))
    assert headers["Cache-Control"] == "private, no-cache"
    again = create_environ(headers={"If-None-Match": headers["ETag"]})
    status, _, body = sent(PAGE_FILES.answer("shared.css", again))
    assert (status, body) == (304, b"")


def test_each_answer_forbids_what_the_pages_do_not_need() -> None:
    for response in (PAGE_FILES.answer("upload.html", create_environ()), json_answer({})):
        assert dict(response.headers).items() >= PROTECTION.items()
    policy = PROTECTION["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for directive in ("frame-ancestors", "form-action", "base-uri"):
        assert f"{directive} 'none'" in policy


def test_what_a_script_asks_for_is_kept_by_nobody() -> None:
    status, headers, body = sent(json_answer({"user": "<é>"}, status=202))
    assert (status, body) == (202, b'{"user":"<\\u00e9>"}')
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", [name for name in PAGE_FILES.names() if name.endswith(".html")])
def test_a_page_has_no_script_or_style_in_itself_and_nothing_from_elsewhere(name: str) -> None:
    text = (FILES / name).read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|//[a-z]", text)
    assert re.findall(r"<script[^>]*>(.*?)</script>", text, re.S) == [""]


@pytest.mark.parametrize("name", [name for name in PAGE_FILES.names() if name.endswith(".js")])
def test_no_script_makes_html_or_code_of_a_text(name: str) -> None:
    text = (FILES / name).read_text()
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    assert not re.search(forbidden, text)
    assert all(each.startswith("./") for each in re.findall(r"\bfrom \"([^\"]+)\"", text))


# The beginning of a sentence, or whatever else is given to an element to say.
_WORDS = re.compile(r"""["'`][A-Z][a-z]* [a-z]|textContent(?:: | = )["'`]\w|aria-label", ["'`]""")


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in PAGE_FILES.names()
        if name.endswith(".js") and not name.endswith("_texts.js")
    ],
)
def test_words_for_people_are_in_the_files_of_texts_only(name: str) -> None:
    assert _WORDS.findall((FILES / name).read_text()) == []


@pytest.mark.parametrize("name", [name for name in PAGE_FILES.names() if name.endswith(".html")])
def test_a_page_has_no_words_but_its_title_and_what_is_said_without_scripts(name: str) -> None:
    text = re.sub(r"<title>.*?</title>|<noscript>.*?</noscript>", "", (FILES / name).read_text())
    assert re.sub(r"<[^>]*>", "", text).split() == []


@pytest.mark.parametrize("name", [name for name in PAGE_FILES.names() if name.endswith(".css")])
def test_nothing_moves_for_those_who_want_no_motion(name: str) -> None:
    style = (FILES / name).read_text()
    others = re.sub(
        r"@media \(prefers-reduced-motion: no-preference\) \{.*?\n\}\n", "", style, flags=re.S
    )
    assert not re.search(r"transition|animation|@keyframes|scroll-behavior", others)
