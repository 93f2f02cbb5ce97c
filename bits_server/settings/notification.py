"""What the settings say of the server application, and what of it is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urljoin, urlsplit

from bits_server.settings.addresses import refuse_credentials
from bits_server.settings.refusals import require

LONGEST_URL = 2200  # characters
_OWN_HEADERS = ("connection", "content-length", "host", "transfer-encoding", "accept-encoding")


class NotificationType(Enum):
    """How the server application is told of a complete upload; IIS numbers them 0, 1 and 2."""

    NONE = "none"
    BY_REFERENCE = "by-reference"  # the path of the file, in a header
    BY_VALUE = "by-value"  # the file, as the body


class NotifyAt(Enum):
    """When the server application is told."""

    LAST_FRAGMENT = "last-fragment"  # before its Ack, which alone can carry a reply's URL
    CLOSE = "close"  # before the Ack of Close-Session


@dataclass(frozen=True, slots=True)
class NotificationHeader:
    """A header field for the server application: a key, or credentials.

    ``source``: where ``value`` came from, as a settings file has it, and ``file`` the path in that;
    the value itself is printed nowhere.
    """

    name: str
    value: str = field(repr=False)
    source: str = ""
    file: str = ""


def resolve(url: str, public_url: str | None) -> str:
    """``url`` in absolute form; a relative one is below the virtual directory as clients know it.

    Raises ValueError.
    """
    return urljoin((public_url or "").rstrip("/") + "/", url)


def check_notification_url(url: str, public_url: str | None) -> None:
    """Raise SettingsError where no notification could be sent there."""
    key = "notification_url"
    require(url != "", key, "is missing: where is the server application to be told?")
    refuse_credentials(key, url, "use notification_headers")
    is_relative = not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url)
    require(
        public_url is not None or not is_relative,
        key,
        f"{url!r} is relative, which needs public_url; or write it with http:// and a host",
    )
    try:
        absolute = resolve(url, public_url)
        parts = urlsplit(absolute)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    is_usable = is_usable and bool(re.fullmatch(r'[!"$-~]+', absolute))  # not #
    require(is_usable, key, f"{url!r} must be like 'http://127.0.0.1:9000/handle', in ASCII")
    require(
        len(absolute) <= LONGEST_URL, key, f"must have at most {LONGEST_URL} characters [MC-BUP]"
    )


def check_header(header: NotificationHeader) -> None:
    """Raise SettingsError where it cannot be sent."""
    key, name = "notification_headers", header.name
    require(
        bool(re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)), key, f"{name!r} is no header name"
    )
    require(
        not name.lower().startswith("bits-") and name.lower() not in _OWN_HEADERS,
        key,
        f"{name} is written by the server itself",
    )
    require(
        bool(re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", header.value)),
        key,
        f"the value of {name} has characters that no header field may have",
    )
