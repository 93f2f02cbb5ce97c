"""What the settings say of who may upload, and what of it is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from bits_server.settings.refusals import require

EVERYONE = "*"  # in ``allow``: whoever is authenticated
GROUP_MARK = "@"
USER_MARK = "{user}"
SHORTEST_SECRET = 16  # characters
_NOT_OURS = frozenset(
    {
        *("authorization", "connection", "content-length", "content-type", "cookie", "host"),
        *("transfer-encoding", "x-proxy-secret", "x-accel-prefix", "x-http-method-override"),
    }
)


class Authentication(Enum):
    """A way to find out who sends a request."""

    ANONYMOUS = "anonymous"  # nobody is asked
    BASIC = "basic"  # user and password, against an htpasswd file
    NEGOTIATE = "negotiate"  # a ticket of Kerberos, against a keytab
    HEADER = "header"  # as a proxy says, who has asked
    CERTIFICATE = "certificate"  # of the client, as a proxy says, who has verified it


@dataclass(frozen=True, slots=True)
class Secret:
    """What nobody else is to know. ``value`` is printed nowhere.

    ``source``: where it came from, as a settings file has it; ``file``: the path in that.
    """

    value: str = field(repr=False)
    source: str = ""
    file: str = ""


_FILES = {Authentication.BASIC: "htpasswd_file", Authentication.NEGOTIATE: "keytab"}


def check_authentication(
    schemes: Sequence[Authentication],
    *,
    path: str,
    htpasswd_file: str | None,
    allow: Sequence[str],
    groups_file: str | None,
    keytab: str | None,
    kerberos_realm: str,
) -> None:
    """Raise SettingsError where nobody, or the wrong ones, could upload."""
    key = "authentication"
    require(bool(schemes), key, 'must name at least one scheme; "anonymous" asks nobody')
    require(len(set(schemes)) == len(schemes), key, "must not name a scheme twice")
    is_anonymous = Authentication.ANONYMOUS in schemes
    require(
        not is_anonymous or len(schemes) == 1,
        key,
        'must not have "anonymous" beside another scheme: no BITS client would authenticate then',
    )
    files = {"htpasswd_file": htpasswd_file, "groups_file": groups_file, "keytab": keytab}
    for name, file in files.items():
        require(
            file is None or file.startswith("/"), name, "must be an absolute path, starting with /"
        )
    for scheme, name in _FILES.items():
        require(
            scheme not in schemes or files[name] is not None,
            name,
            f'is missing, and must be given where authentication names "{scheme.value}"',
        )
    require(
        not re.search(r"[\s/@]", kerberos_realm),
        "kerberos_realm",
        "must be the name of a realm, like 'EXAMPLE.COM'",
    )
    _check_allow(allow, is_anonymous=is_anonymous, has_groups=groups_file is not None)
    _check_user_mark(path, is_anonymous=is_anonymous)


def check_proxy_identity(user_header: str, certificate_header: str, secret: Secret | None) -> None:
    """Raise SettingsError for fields that no proxy can send, or that are another's."""
    fields = (("user_header", user_header), ("certificate_header", certificate_header))
    for key, name in fields:
        require(
            bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name)) and name.lower() not in _NOT_OURS,
            key,
            f"{name!r} must be the name of a header field that only the proxy sets",
        )
    require(
        user_header.lower() != certificate_header.lower(),
        "certificate_header",
        "must be another than user_header",
    )
    require(
        secret is None or bool(re.fullmatch(rf"[!-~]{{{SHORTEST_SECRET},}}", secret.value)),
        "proxy_secret",
        f"must have at least {SHORTEST_SECRET} characters of ASCII, and no spaces",
    )


def _check_allow(allow: Sequence[str], *, is_anonymous: bool, has_groups: bool) -> None:
    key = "allow"
    require(bool(allow), key, f'must name somebody; "{EVERYONE}" is whoever is authenticated')
    require(
        all(name not in ("", GROUP_MARK) for name in allow),
        key,
        "must not have a name without characters",
    )
    require(
        not is_anonymous or tuple(allow) == (EVERYONE,),
        key,
        f'must be ["{EVERYONE}"] where authentication is "anonymous": nobody has a name',
    )
    require(
        has_groups or not any(name.startswith(GROUP_MARK) for name in allow),
        key,
        f"must not name a group ({GROUP_MARK}...) without groups_file",
    )


def _check_user_mark(path: str, *, is_anonymous: bool) -> None:
    require(
        USER_MARK not in path or not is_anonymous,
        "path",
        f'must not have {USER_MARK} where authentication is "anonymous": nobody has a name',
    )
    template = path[len(root_of(path)) :]
    require(
        not re.search(r"(?:^|/)\.{0,2}(?:/|$)", template.strip("/")) or not template,
        "path",
        f"must have folders with names behind the one with {USER_MARK}",
    )


def root_of(path: str) -> str:
    """What of ``path`` all users share: the folder before the first one with ``{user}``."""
    before, mark, _ = path.partition(USER_MARK)
    return (before.rpartition("/")[0] or "/") if mark else path


def home_of(path: str, user: str) -> tuple[str, ...]:
    """The folders below ``root_of(path)`` that are the user's own; none without ``{user}``.

    The name is put in as it is: whoever uses the result looks whether it can be a folder's.
    """
    template = path[len(root_of(path)) :].strip("/")
    return tuple(part.replace(USER_MARK, user) for part in template.split("/") if part)
