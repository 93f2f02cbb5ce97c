"""Files of users and passwords, written by the ``htpasswd`` of Apache."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

from tests.support.tools import require_tool


def add_user(file: Path, user: str, password: str, *options: str) -> None:
    """Add a user to ``file``, or change his password. By default a quick hash of bcrypt."""
    options = options or ("-B", "-C", "4")
    made = () if file.exists() else ("-c",)
    command = [require_tool("htpasswd"), *options, *made, "-i", str(file), user]
    subprocess.run(command, input=password.encode(), check=True, capture_output=True)


def basic(user: str, password: str) -> str:
    """The value of Authorization."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
