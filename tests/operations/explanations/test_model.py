"""What a Windows client does after each status, by Microsoft's documentation."""

from __future__ import annotations

import pytest

from bits_server.operations.explanations import reaction_to

STOPS = [300, 301, 302, 303, 304, 305, 307, 400, 403, 404, 405, 410, 414, 431, 501, 505]
TRIES_AGAIN = [306, 308, 408, 409, 500, 502, 503, 504, 507, 599]


@pytest.mark.parametrize("status", STOPS)
def test_the_job_stops(status: int) -> None:
    assert reaction_to(status).startswith("stops with an error")


@pytest.mark.parametrize("status", TRIES_AGAIN)
def test_the_client_tries_again(status: int) -> None:
    assert reaction_to(status).startswith("tries again by itself")


@pytest.mark.parametrize(
    ("status", "does"), [(413, "sends less"), (416, "goes on"), (401, "answers"), (407, "answers")]
)
def test_some_mean_something_else(status: int, does: str) -> None:
    assert reaction_to(status).startswith(does)


@pytest.mark.parametrize("status", [200, 201, 206])
def test_a_success_needs_none(status: int) -> None:
    assert reaction_to(status) == ""
