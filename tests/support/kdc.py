"""A Kerberos realm of its own: MIT's KDC on loopback, in a folder that is thrown away.

Its programs find each other by files that only the environment of a process names, so that nothing
of the machine's own Kerberos is read or written. What a client of Negotiate has to know:

- It needs a ticket of its user (``kinit``, or a keytab of its own), found through KRB5CCNAME or in
  ``gssapi.Credentials(usage="initiate", store={"ccache": ...})``.
- It asks for a ticket of the service ``HTTP@host``, a name of the type hostbased_service, with the
  host of the URL without its port. By default MIT replaces that host by what the DNS says of it;
  ``dns_canonicalize_hostname = false`` is what browsers and Windows do.
- A token is good for one request: each packet needs a new ``SecurityContext`` and its first
  ``step()``, 0.3 ms of processor time. The ticket itself stays in the cache: the KDC is asked once.
- The last token of the server comes with the answer, whatever its status, once it knows who asks:
  ``step(token)`` with it, and ``complete`` says that the server was the right one.
- The client may send its token with the first request, without having been asked.
"""

from __future__ import annotations

import os
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.support.tools import require_tool
from tests.support.waiting import wait_until

REALM = "BITS.TEST"
SERVICE = f"HTTP/localhost@{REALM}"

_KRB5_CONF = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    default_ccache_name = FILE:{folder}/cache-of-nobody
    udp_preference_limit = 1
    clockskew = {clock_skew}
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
[domain_realm]
    localhost = {realm}
"""

_KDC_CONF = """\
[kdcdefaults]
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    {realm} = {{
        database_name = {folder}/principal
        key_stash_file = {folder}/stash
        max_life = 10h
    }}
[logging]
    kdc = FILE:{folder}/kdc.log
"""


def require_gssapi() -> None:
    """Without the library of the extra ``negotiate`` the test, or the module, skips.

    Where CI is set it fails.
    """
    try:
        import gssapi  # noqa: F401
    except ImportError as error:
        reason = f"the extra negotiate is not installed: {error}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason, allow_module_level=True)


class Kdc:
    """The realm BITS.TEST for the time of the context; ``keytab`` has the key of the service."""

    def __init__(self, folder: Path) -> None:
        self._kdc, self._kdb5_util, self._kadmin, self._kinit, self._kvno = [
            require_tool(name) for name in ("krb5kdc", "kdb5_util", "kadmin.local", "kinit", "kvno")
        ]
        self._folder = folder
        self.keytab = folder / "http.keytab"
        self._process: subprocess.Popen[bytes] | None = None
        self._users: set[str] = set()
        self._services: set[str] = set()
        self._choose_port()
        self.environment_of_all = {
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
            "KRB5_KTNAME": f"FILE:{folder}/keytab-of-nobody",
            "KRB5CCNAME": f"FILE:{folder}/cache-of-nobody",
            "KRB5RCACHEDIR": str(folder),
        }

    def __enter__(self) -> Kdc:
        self._run(self._kdb5_util, "create", "-s", "-P", "master", "-r", REALM)
        self.add_service(SERVICE, self.keytab)
        self.add_user("probe")
        try:
            while not self._is_started():
                self._choose_port()  # somebody else was quicker
        except BaseException:
            self.__exit__()
            raise
        return self

    def _is_started(self) -> bool:
        """Whether it answers; if not, it has ended."""
        process = self._process = subprocess.Popen(
            [self._kdc, "-n"],
            env={**os.environ, **self.environment_of_all},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        answers = partial(self._log_in, "probe", self.cache_of("probe"), timeout=5)
        wait_until(lambda: process.poll() is not None or answers())
        return process.poll() is None

    def _choose_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._write("kdc.conf", _KDC_CONF)
        self.write_configuration("krb5.conf")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def write_configuration(self, name: str, *, clock_skew: int = 300) -> Path:
        """A krb5.conf for this realm. ``clock_skew``: what clocks may differ, in seconds."""
        return self._write(name, _KRB5_CONF, clock_skew=clock_skew)

    def add_user(self, name: str) -> None:
        """A user of the realm, if he is not there."""
        if name not in self._users:
            self._admin("addprinc", "-pw", _password(name), name)
            self._users.add(name)

    def add_service(self, principal: str, keytab: Path, *options: str) -> None:
        """A service, if it is not there, with a new key, which goes into ``keytab``.

        ``options``: of addprinc.
        """
        if principal not in self._services:
            self._admin("addprinc", "-randkey", *options, principal)
            self._services.add(principal)
        self._admin("ktadd", "-k", str(keytab), principal)

    def change_key(self, principal: str, keytab: Path) -> None:
        """Give a service another key; only ``keytab`` has it then."""
        self._admin("ktadd", "-k", str(keytab), principal)

    def remove_key(self, principal: str, keytab: Path) -> None:
        """Take the keys of a service out of ``keytab``."""
        self._admin("ktremove", "-k", str(keytab), principal, "all")

    def cache_of(self, user: str) -> Path:
        return self._folder / f"cache-of-{user.replace('/', '-')[:100]}"

    def tickets(self, user: str, *options: str) -> Path:
        """A new cache of tickets of ``user``. ``options``: of kinit."""
        self.add_user(user)
        cache = self.cache_of(user)
        assert self._log_in(user, cache, *options), user
        return cache

    def fetch_ticket(self, cache: Path, principal: str = SERVICE) -> None:
        """Put the ticket for a service into the cache."""
        self._run(self._kvno, "-c", str(cache), principal)

    def environment(self, user: str | None, *options: str) -> dict[str, str]:
        """For a process that acts for ``user``, who has a ticket; None: for nobody.

        ``options``: of kinit.
        """
        environment = {**os.environ, **self.environment_of_all}
        if user is not None:
            environment["KRB5CCNAME"] = f"FILE:{self.tickets(user, *options)}"
        return environment

    def _log_in(self, user: str, cache: Path, *options: str, timeout: float = 60) -> bool:
        try:
            done = subprocess.run(
                [self._kinit, "-c", str(cache), *options, user],
                input=_password(user).encode(),
                env={**os.environ, **self.environment_of_all},
                capture_output=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def _admin(self, *query: str) -> None:
        self._run(self._kadmin, "-r", REALM, *query)

    def _run(self, *command: str) -> None:
        environment = {**os.environ, **self.environment_of_all}
        subprocess.run(command, env=environment, check=True, capture_output=True)

    def _write(self, name: str, form: str, *, clock_skew: int = 300) -> Path:
        path = self._folder / name
        path.write_text(
            form.format(realm=REALM, folder=self._folder, port=self._port, clock_skew=clock_skew)
        )
        return path


def _password(user: str) -> str:
    return f"password-of-{user.replace('/', '-')[:100]}"
