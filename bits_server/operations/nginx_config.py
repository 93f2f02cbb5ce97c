"""The location blocks that nginx needs for the virtual directories of some settings.

The rule of this file: a URL or a folder means itself to nginx, whatever characters it has. What
nginx cannot say is left out, and the server then does it alone.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from bits_server.operations.sessions_page.sessions_app import PAGE
from bits_server.settings import Authentication, Settings, VirtualDirectory
from bits_server.settings.administrators import login_of

UPSTREAM = "bits_server"
INTERNAL_PREFIX = "/_bits_replies"
SMALLEST_BODY_LIMIT = 64 << 20  # below it this server's own 413 is the better answer
PATIENCE_SECONDS = 330  # a client gives up after 300; nginx must not do so before
ROOM_SECONDS = 60  # beyond the notification: a turn to wait for, a disk that is slow

_LOCATION = """\
    # {url}
    location ^~ {location} {{
        proxy_pass http://{upstream};
        client_max_body_size {body_limit}m;
        proxy_read_timeout {patience}s;
        proxy_send_timeout {patience}s;
"""

_CERTIFICATE = """\
        set $bits_subject $bits_verified_subject;
"""

_HEADER = """\
        # Here comes what finds out who it is (auth_basic, auth_request), and then, for auth_basic:
        # set $bits_user $remote_user;
"""

_CERTIFICATE_AGAIN = """\
            set $bits_subject $bits_verified_subject;
"""

_HEADER_AGAIN = """\
            # And once more what sets $bits_user above, without what finds it out.
"""

_REPLIES = """\
        set $bits_replies {prefix};  # without this line the server sends the replies itself
    }}
    location ^~ {location} {{
        internal;
        location ~ {pattern} {{
            internal;
            alias {file};
            disable_symlinks on {beginning};
            etag off;  # the server's own goes out instead
            add_header ETag $upstream_http_etag;
            add_header X-Content-Type-Options $upstream_http_x_content_type_options;
{identity}            error_page 403 404 = @bits_server_alone;  # what nginx may not read
        }}
    }}
"""

_SESSIONS_PAGE = """\
    # The page of the sessions, for administrators
    location {location} {{
        proxy_pass http://{upstream};
{identity}    }}
"""

_ALONE = """\
    location @bits_server_alone {{
        set $bits_replies "";
        proxy_pass http://{upstream}$request_uri;
    }}
"""


def location_blocks(settings: Settings) -> str:
    """The blocks for all virtual directories, to stand in a server block of ``nginx.conf``."""
    blocks = [_blocks(directory) for directory in settings.virtual_directories]
    login = login_of(settings.administrators, settings.virtual_directories)
    if login is not None:
        identity = _identity(login, _CERTIFICATE, _HEADER)
        blocks.append(_SESSIONS_PAGE.format(location=PAGE, upstream=UPSTREAM, identity=identity))
    return "\n".join([*blocks, _ALONE.format(upstream=UPSTREAM)])


def _blocks(directory: VirtualDirectory) -> str:
    limit = max(SMALLEST_BODY_LIMIT, directory.maximum_fragment_size)
    opening = _LOCATION.format(
        url=directory.url,
        location=_word(directory.url),
        upstream=UPSTREAM,
        body_limit=-(-limit >> 20),
        patience=max(PATIENCE_SECONDS, directory.notification_timeout + ROOM_SECONDS),
    )
    opening += _identity(directory, _CERTIFICATE, _HEADER)
    # The way to nginx's own location and on begins with nobody again.
    identity = _identity(directory, _CERTIFICATE_AGAIN, _HEADER_AGAIN)
    if "$" in directory.root:  # in a path nginx takes it for a variable, and knows no escape
        return opening + "    }\n"
    internal = INTERNAL_PREFIX + directory.url.rstrip("/")
    folder = directory.root.rstrip("/") + "/BITS-Sessions"
    return opening + _REPLIES.format(
        prefix=quote(internal),
        location=_word(internal + "/"),
        pattern=_text(f"^{re.escape(internal)}/([{{][0-9A-F-]{{36}}[}}]/response)$"),
        file=_text(f"{folder}/$1"),
        beginning=_text(f"from={folder}"),
        identity=identity,
    )


def _identity(directory: VirtualDirectory, certificate: str, header: str) -> str:
    """The lines for the schemes by which nginx says who it is."""
    schemes = directory.authentication
    lines = certificate if Authentication.CERTIFICATE in schemes else ""
    return lines + (header if Authentication.HEADER in schemes else "")


def _word(text: str) -> str:
    return text if re.fullmatch(r"[\w./-]+", text, re.ASCII) else _text(text)


def _text(text: str) -> str:
    """A parameter in quotes, as nginx reads it back."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
