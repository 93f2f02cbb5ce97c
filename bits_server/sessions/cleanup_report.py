"""What a clean-up found, removed and could not remove, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field

from bits_server.protocol.session_id import SessionId
from bits_server.storage.record import SessionRecord


@dataclass(slots=True)
class CleanupReport:
    """With a dry run: what would be removed."""

    found: int = 0
    removed: list[SessionRecord] = field(default_factory=list)
    wrecks: list[SessionId] = field(default_factory=list)
    closed_records: int = 0
    debris: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line for the log."""
        parts = [
            f"{self.found} sessions found",
            f"{len(self.removed) + len(self.wrecks)} expired and removed",
            f"{self.closed_records} closed records removed",
        ]
        if self.debris:
            parts.append(f"{len(self.debris)} remains of a crash removed")
        if self.foreign:
            parts.append(f"not ours and left: {', '.join(map(repr, self.foreign[:10]))}")
        if self.failures:
            parts.append(f"could not be removed: {'; '.join(self.failures[:10])}")
        return ", ".join(parts)
