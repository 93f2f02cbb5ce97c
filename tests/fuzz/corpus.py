"""The requests that all mutations begin with, and those that once found something."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")


def seeds() -> dict[str, bytes]:
    """By file name."""
    return {path.name: path.read_bytes() for path in sorted(FOLDER.glob("*.http"))}


def keep(data: bytes, what: str, folder: Path = FOLDER) -> Path:
    """Store an input that found something; it is replayed from now on."""
    name = f"found-{what}-{hashlib.sha256(data).hexdigest()[:12]}.http"
    path = folder / name
    path.write_bytes(data)
    return path
