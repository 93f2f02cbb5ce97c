"""The WSGI application: by method to the packets, or to a plain HTTP answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from werkzeug.wrappers import Response

from bits_server.protocol.acks import Ack
from bits_server.protocol.errors import AuthenticationRequired, BitsError, SessionNotFound
from bits_server.sessions.manager import SessionManager
from bits_server.sessions.observer import SessionObserver
from bits_server.web.authentication.authenticator import Authenticator
from bits_server.web.authentication.caller import Caller
from bits_server.web.bits_post import BitsPost
from bits_server.web.downloads import DOWNLOAD_METHODS, answer_download, is_private
from bits_server.web.error_answers import to_bits_error
from bits_server.web.handing_over import INTERNAL_PREFIX
from bits_server.web.pages.refused_page import refused_page
from bits_server.web.pages.upload_page import UploadPage, is_of_page
from bits_server.web.request_body import RequestBody
from bits_server.web.virtual_directories import VirtualDirectories

BITS_POST = "BITS_POST"
ALLOWED = f"{BITS_POST}, POST, OPTIONS"
MINIMUM_DRAIN_BYTES = 128 << 20
OTHER_DRAIN_BYTES = 1 << 20  # of a request that is no packet

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class BitsApplication:
    """The virtual directories as a WSGI application."""

    def __init__(
        self,
        managers: Iterable[SessionManager],
        observer: SessionObserver,
        authenticators: Mapping[str, Authenticator] | None = None,
    ) -> None:
        """``authenticators``: by the URL of a virtual directory; without one nobody is asked."""
        managers = tuple(managers)
        self._directories = VirtualDirectories(managers)
        self._observer = observer
        self._authenticators = authenticators or {}
        self._bits_post = BitsPost(self._directories, observer, self._authenticators)
        self._upload_page = UploadPage()
        # A refused Fragment is read to its end, or the client sees a network error and not the
        # Ack; one that is too large needs room beyond what is taken.
        self._drain_bytes = max(
            MINIMUM_DRAIN_BYTES,
            *(2 * manager.directory.maximum_fragment_size for manager in managers),
        )

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        override = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", "")
        is_override = method == "POST" and override.strip().upper() == BITS_POST
        body = RequestBody(environ)
        if method == BITS_POST or is_override:
            ack = self._bits_post.answer(environ, body, is_override=is_override)
            if not body.drain(self._drain_bytes):
                _close_connection(start_response)
            return _send(ack, start_response)
        response = self._answer_other(method, environ)
        if not body.drain(OTHER_DRAIN_BYTES):
            _close_connection(start_response)
        return response(environ, start_response)

    def _answer_other(self, method: str, environ: dict[str, Any]) -> Response:
        """A download, the upload page, or nothing that is served: say what is."""
        path = environ.get("PATH_INFO", "").encode("latin-1")
        found = self._directories.find(path)
        if found is None:
            return Response(status=404)
        is_page = is_of_page(found[0].directory, found[1])
        if method in DOWNLOAD_METHODS and (is_page or is_private(found[1])):
            return self._answer_get(*found, environ, is_page=is_page)
        status = 200 if method == "OPTIONS" else 405
        return Response(status=status, headers={"Allow": ALLOWED})

    def _answer_get(
        self, manager: SessionManager, path: bytes, environ: dict[str, Any], *, is_page: bool
    ) -> Response:
        caller = Caller(environ, self._authenticators.get(manager.directory.url))
        try:
            uploader = caller.uploader()
            if caller.answer_fields:
                # nginx would drop them; and where it may not read the file it would ask again, with
                # a token that is good for one request.
                environ[INTERNAL_PREFIX] = ""
            if is_page:
                page = self._upload_page
                response = page.answer(manager.directory, path, uploader.user, environ)
            else:
                response = answer_download(manager, path, uploader, environ)
        except Exception as error:
            refusal = to_bits_error(error)
            text = path.decode(errors="backslashreplace")
            what = "Page" if is_page else "Reply"
            self._observer.failed(manager.directory.url, what, "", text, refusal)
            response = refused_page(refusal.status) if is_page else _refused_download(refusal)
            if isinstance(refusal, AuthenticationRequired):
                response.headers.extend(("WWW-Authenticate", each) for each in refusal.challenges)
            if refusal.retry_after_seconds is not None:
                response.headers["Retry-After"] = str(refusal.retry_after_seconds)
        response.headers.extend(caller.answer_fields)
        return response


def _refused_download(refusal: BitsError) -> Response:
    return Response(status=404 if isinstance(refusal, SessionNotFound) else refusal.status)


def _send(ack: Ack, start_response: Callable[..., Any]) -> Iterable[bytes]:
    # A server application may have told one that nobody has named.
    start_response(_STATUS_LINES.get(ack.status, f"{ack.status} Unknown"), ack.header_fields())
    return ()


def _close_connection(start_response: Callable[..., Any]) -> None:
    """Have the answer say ``Connection: close``.

    WSGI forbids an application to send that header; gunicorn's response, which is what
    ``start_response`` is bound to, has a method for it. Other servers see for themselves that the
    body was not read.
    """
    force_close = getattr(getattr(start_response, "__self__", None), "force_close", None)
    if force_close is not None:
        force_close()
