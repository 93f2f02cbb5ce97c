"""Who may upload, in the settings: what makes no sense together is refused."""

from __future__ import annotations

from typing import Any

import pytest

from bits_server.settings import Authentication, SettingsError, VirtualDirectory

BASIC = {"authentication": (Authentication.BASIC,), "htpasswd_file": "/etc/users"}


def directory(**changes: Any) -> VirtualDirectory:
    return VirtualDirectory(**{"url": "/upload", "path": "/srv/uploads", **BASIC, **changes})


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"htpasswd_file": None}, "htpasswd_file"),
        ({"authentication": (Authentication.NEGOTIATE,)}, "keytab"),
        ({"authentication": (Authentication.BASIC, Authentication.ANONYMOUS)}, "authentication"),
        ({"authentication": (Authentication.BASIC, Authentication.BASIC)}, "authentication"),
        ({"allow": ()}, "allow"),
        ({"allow": ("",)}, "allow"),
        ({"allow": ("@",), "groups_file": "/etc/groups"}, "allow"),
        ({"allow": ("alice", "@staff")}, "allow"),
        ({"path": "/srv/{user}/../x"}, "path"),
        ({"path": "/srv/{user}/./x"}, "path"),
        ({"path": "/srv/{user}//x"}, "path"),
        ({"path": "/{user}"}, "path"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError, match="must") as caught:
        directory(**changes)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "changes",
    [
        {"allow": ("alice", "*")},
        {"allow": ("@staff",), "groups_file": "/etc/groups"},
        {"basic_without_tls": True},
        {
            "authentication": (Authentication.NEGOTIATE, Authentication.BASIC),
            "keytab": "/etc/http.keytab",
            "kerberos_realm": "EXAMPLE.COM",
        },
        {"path": "/srv/{user}"},
    ],
)
def test_what_makes_sense_is_taken(changes: dict[str, Any]) -> None:
    directory(**changes)


@pytest.mark.parametrize(
    ("path", "root", "home"),
    [
        ("/srv/uploads", "/srv/uploads", ()),
        ("/srv/uploads/", "/srv/uploads/", ()),
        ("/srv/{user}", "/srv", ("alice",)),
        ("/srv/{user}/", "/srv", ("alice",)),
        ("/srv/of-{user}/in", "/srv", ("of-alice", "in")),
        ("/srv/a b/{user}/{user}", "/srv/a b", ("alice", "alice")),
    ],
)
def test_a_path_with_the_user_has_a_root_and_a_home(
    path: str, root: str, home: tuple[str, ...]
) -> None:
    made = directory(path=path)
    assert made.root == root
    assert made.home_of("alice") == home


def test_a_name_is_put_in_as_it_is() -> None:
    """Whoever uses it looks whether it can be a folder's: here {user} twice is no formatting."""
    assert directory(path="/srv/{user}").home_of("{user}/..") == ("{user}/..",)
