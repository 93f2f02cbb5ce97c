"""From the settings of a virtual directory to its Authenticator: where the schemes meet.

The rule of this file: what the settings name can be read here, at the start, so that a wrong file
is told to the administrator and not to the first client.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bits_server.settings import Authentication, SettingsError, VirtualDirectory
from bits_server.web.authentication.access import Access
from bits_server.web.authentication.authenticator import Authenticator
from bits_server.web.authentication.basic import BasicScheme
from bits_server.web.authentication.interface import Scheme
from bits_server.web.authentication.proxy_identity import ProxyIdentity
from bits_server.web.authentication.throttle import Throttle


def make_authenticator(
    directory: VirtualDirectory, throttle: Throttle, table: str, *, read_files: bool = False
) -> Authenticator:
    """Who may upload to ``directory``. ``table``: of the settings file. Raises SettingsError.

    ``read_files``: at once and not with the first packet, to find what is wrong with them.
    """
    access = Access(directory.allow, directory.groups_file)
    if read_files:
        with _about("groups_file", directory.groups_file, table):
            access.read()
    if directory.authentication == (Authentication.ANONYMOUS,):
        return Authenticator((), access, throttle)
    schemes = [
        _scheme(name, directory, table, read_files=read_files) for name in directory.authentication
    ]
    return Authenticator(schemes, access, throttle)


def _scheme(
    name: Authentication, directory: VirtualDirectory, table: str, *, read_files: bool
) -> Scheme:
    secret = directory.proxy_secret.value if directory.proxy_secret else None
    match name:
        case Authentication.BASIC:
            assert directory.htpasswd_file is not None
            basic = BasicScheme(directory.htpasswd_file, without_tls=directory.basic_without_tls)
            if read_files:
                with _about("htpasswd_file", directory.htpasswd_file, table):
                    basic.read()
            return basic
        case Authentication.NEGOTIATE:
            assert directory.keytab is not None
            keytab, realm = directory.keytab, directory.kerberos_realm
            return _negotiate(keytab, realm, table, read_files=read_files)
        case Authentication.HEADER:
            return ProxyIdentity(directory.user_header, secret, may_have_commas=False)
        case Authentication.CERTIFICATE:
            return ProxyIdentity(directory.certificate_header, secret, may_have_commas=True)
    raise SettingsError("authentication", f"there is no scheme {name.value!r}", table=table)


def _negotiate(keytab: str, realm: str, table: str, *, read_files: bool) -> Scheme:
    try:
        from bits_server.web.authentication.negotiate import NegotiateScheme
    except ImportError as error:
        raise SettingsError(
            "authentication",
            '"negotiate" needs the Python library gssapi, which is not installed: '
            "apt-get install gcc python3-dev libkrb5-dev, then "
            f"pip install 'bits-server[negotiate]' ({error})",
            table=table,
        ) from error
    negotiate = NegotiateScheme(keytab, realm=realm)
    if read_files:
        with _about("keytab", keytab, table):
            negotiate.read()
    return negotiate


@contextmanager
def _about(key: str, file: str | None, table: str) -> Iterator[None]:
    """A file that a key names, and that cannot be used, is a SettingsError about the key."""
    try:
        yield
    except OSError as error:
        raise SettingsError(key, f"{file} cannot be read: {error.strerror}", table=table) from error
    except ValueError as error:
        raise SettingsError(key, f"{file}: {error}", table=table) from error
