"""The page that says no: whole, in words, with a policy that allows its style and nothing else."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from bits_server.web.pages.page_files import PROTECTION
from bits_server.web.pages.refused_page import refused_page


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_it_says_what_is_wrong_and_what_to_do(status: int) -> None:
    response = refused_page(status)
    text = response.get_data(as_text=True)
    assert response.status_code == status
    assert response.mimetype == "text/html"
    assert f"{status} " in text
    title, heading = re.findall(r"<(?:title|h1)>(.+?)</", text)
    assert title == heading
    assert re.search(r"<p>[A-Z].+\.</p>", text)


def test_its_one_style_is_allowed_by_its_hash_and_all_else_is_forbidden() -> None:
    response = refused_page(403)
    text = response.get_data(as_text=True)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    allowed = b64encode(sha256(style.encode()).digest()).decode()
    policy = response.headers["Content-Security-Policy"]
    assert policy == PROTECTION["Content-Security-Policy"].replace(
        "style-src 'self'", f"style-src 'sha256-{allowed}'"
    )
    others = {name: value for name, value in PROTECTION.items() if "Policy" not in name}
    assert dict(response.headers).items() >= others.items()
    assert not re.search(r"<script|<link|<img|\sstyle=|\son[a-z]+=|//[a-z]", text)
    assert response.headers["Cache-Control"] == "no-store"
