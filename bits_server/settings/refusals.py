"""How a setting is refused: one error, which says where and what to change."""

from __future__ import annotations


class SettingsError(ValueError):
    """A setting that cannot be used: which key, what is wrong, what to write instead.

    ``key`` as in the settings file; ``table`` and ``file`` are filled in by whoever knows them.
    """

    def __init__(self, key: str, problem: str, *, table: str = "", file: str = "") -> None:
        super().__init__(key, problem)
        self.key = key
        self.problem = problem
        self.table = table
        self.file = file

    def __str__(self) -> str:
        where = [part for part in (self.file, self.table, self.key) if part]
        return ": ".join([*where, self.problem])


def require(holds: bool, key: str, problem: str, *, table: str = "") -> None:
    """Raise SettingsError about ``key`` unless it holds."""
    if not holds:
        raise SettingsError(key, problem, table=table)
