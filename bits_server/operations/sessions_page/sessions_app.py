"""The page of the sessions: its files, the list, and what an administrator may do with one.

The rule of this file: nothing is changed but by a POST of JSON with a header field that no form and
no page of another origin can send, and each change is a line in the log that says who wished it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from werkzeug.wrappers import Request, Response

from bits_server.operations.event_log import plain_text
from bits_server.operations.session_list import notification_facts, notification_of
from bits_server.operations.sessions_page.live_list import LiveList
from bits_server.protocol.errors import (
    AccessDenied,
    AuthenticationRequired,
    BitsError,
    SessionNotFound,
)
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.administration import Administration, NotPossible
from bits_server.storage.interface import SessionBroken
from bits_server.storage.record import NotificationOutcome
from bits_server.web.authentication.authenticator import Authenticator
from bits_server.web.pages.page_files import PageFiles, json_answer, protected
from bits_server.web.pages.refused_page import refused_page
from bits_server.web.same_origin import refuse_foreign_origin
from bits_server.web.trusted_proxies import WsgiApplication

PAGE = "/-/sessions"
MARK = "X-Bits-Sessions"  # a field of our own: other origins may not send it unasked
LARGEST_BODY_BYTES = 4096

_log = logging.getLogger("bits_server")

# Fields that the answer must carry because of who it is for.
Fields = Sequence[tuple[str, str]]
Identify = Callable[[dict[str, Any]], tuple[str, Fields]]


def is_of_sessions_page(path: str) -> bool:
    """Whether a request for ``path`` is for the page."""
    return path == PAGE or path.startswith(f"{PAGE}/")


class SessionsApp:
    """A WSGI application for ``PAGE`` and what is below it."""

    def __init__(
        self,
        administrations: Sequence[Administration],
        identify: Identify,
        files: PageFiles | None = None,
    ) -> None:
        """``identify`` says who a request is from, for the log. Raises AccessDenied and the like
        where he is no administrator.
        """
        self._administrations = {each.directory.url: each for each in administrations}
        self._list = LiveList(administrations)
        self._identify = identify
        self._files = files or PageFiles()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        fields: Fields = ()
        try:
            user, fields = self._identify(environ)
            response = self._answer(Request(environ), user)
        except BitsError as refusal:
            _log_refusal(environ, refusal)
            response = _refused(refusal)
        response.headers.extend(fields)
        response.headers.setdefault("Cache-Control", "no-store")
        return response(environ, start_response)

    def _answer(self, request: Request, user: str) -> Response:
        name = request.path.removeprefix(PAGE).removeprefix("/")
        if name == "act":
            if request.method != "POST":
                return protected(Response(status=405, headers={"Allow": "POST"}))
            return self._act(request, user)
        if request.method not in ("GET", "HEAD"):
            return protected(Response(status=405, headers={"Allow": "GET, HEAD"}))
        if name == "list":
            return json_answer(self._list.changes(request.args.get("since", None, float)))
        return self._files.answer(name or "sessions.html", request.environ)

    def _act(self, request: Request, user: str) -> Response:
        refuse_foreign_origin(request.environ)
        if request.headers.get(MARK) != "1" or request.mimetype != "application/json":
            raise AccessDenied(f"an action came without {MARK}, as a page of others would send it")
        wish = _wish_of(request)
        if wish is None:
            return json_answer({"problem": "this is no wish that the server knows"}, status=400)
        url, session_id, action = wish
        where = plain_text(request.remote_addr or "the closed address")
        who = f"{plain_text(user or 'somebody')} at {where}"
        try:
            done, outcome = self._do(self._administrations[url], session_id, action)
        except SessionBroken as error:
            _log.warning("%s %s by %s failed: %s", session_id, action, who, error)
            problem = f"it is broken, and the clean-up will remove it: {error}"
            return json_answer({"problem": problem}, status=409)
        except (SessionNotFound, KeyError):
            return json_answer({"problem": "the session is not there any more"}, status=404)
        except (NotPossible, BitsError, OSError) as error:
            _log.warning("%s %s by %s failed: %s", session_id, action, who, error)
            return json_answer({"problem": str(error)}, status=409)
        _log.warning("%s %s by %s: %s", session_id, action, who, done)
        told = None if outcome is None else notification_facts(outcome)
        return json_answer({"done": action, "notification": told})

    def _do(
        self, administration: Administration, session_id: SessionId, action: str
    ) -> tuple[str, NotificationOutcome | None]:
        """For the log what was done, and what the application has answered if it was asked."""
        if action == "cancel":
            record = administration.cancel(session_id)
            return f"{record.destination!r} is cancelled", None
        if action == "extend":
            record = administration.extend(session_id)
            return f"the session_timeout of {record.destination!r} begins anew", None
        outcome = administration.notify(session_id)
        said = "no answer" if outcome.status is None else f"status {outcome.status}"
        told = f"attempt {outcome.attempts}, {notification_of(outcome)}, {said}"
        return f"the application was told: {told}", outcome


class BesideSessions:
    """A WSGI application: the page of the sessions at its place, and all else as ``other``."""

    def __init__(self, other: WsgiApplication, page: WsgiApplication) -> None:
        self._other, self._page = other, page

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        is_page = is_of_sessions_page(environ.get("PATH_INFO", ""))
        return (self._page if is_page else self._other)(environ, start_response)


class AtClosedAddress:
    """Who comes in at the closed address is an administrator; his browser must call it by an
    address, and not by a name that somebody else has led there (DNS rebinding)."""

    def __call__(self, environ: Mapping[str, Any]) -> tuple[str, Fields]:
        host = str(environ.get("HTTP_HOST", ""))
        name = re.sub(r":[0-9]*$", "", host).strip("[]")
        if name and name != "localhost":
            try:
                ip_address(name)
            except ValueError:
                raise AccessDenied(
                    f"the closed address was called {host[:200]!r}: call it by its IP address"
                ) from None
        return "", ()


class Administrators:
    """Whom an authenticator lets in."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def __call__(self, environ: dict[str, Any]) -> tuple[str, Fields]:
        identity = self._authenticator.identify(environ)
        return identity.user, identity.answer_fields


def _log_refusal(environ: Mapping[str, Any], refusal: BitsError) -> None:
    is_first = isinstance(refusal, AuthenticationRequired) and refusal.is_first
    level = logging.INFO if is_first else logging.WARNING
    where = plain_text(environ.get("REMOTE_ADDR") or "the closed address")
    _log.log(level, "%s refused to %s with %s: %s", PAGE, where, refusal.status, refusal)


def _wish_of(request: Request) -> tuple[str, SessionId, str] | None:
    """What is to be done, and where; None for what is no wish."""
    if request.content_length is None or request.content_length > LARGEST_BODY_BYTES:
        return None
    try:
        value = json.loads(request.get_data())
        wish = value["virtual_directory"], SessionId.parse(value["session_id"]), value["action"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SessionNotFound):
        return None
    known = isinstance(wish[0], str) and wish[2] in ("cancel", "extend", "notify")
    return wish if known else None


def _refused(refusal: BitsError) -> Response:
    response = refused_page(refusal.status)
    challenges = getattr(refusal, "challenges", ())
    response.headers.extend(("WWW-Authenticate", each) for each in challenges)
    if refusal.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(refusal.retry_after_seconds)
    return response
