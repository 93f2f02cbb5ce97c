"""Values as administrators write them: sizes, durations, modes; read and printed.

``read(print(x)) == x`` for each. All raise ValueError whose text says what to write.
"""

from __future__ import annotations

import re

_SIZE_UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DURATION_UNITS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
_SIZE = re.compile(r"([0-9]{1,30}) ?([A-Za-z]*)", re.ASCII)
_DURATION = re.compile(
    r"(?:(?P<d>[0-9]{1,30})d)? ?(?:(?P<h>[0-9]{1,30})h)? ?"
    r"(?:(?P<min>[0-9]{1,30})min)? ?(?:(?P<s>[0-9]{1,30})s)?",
    re.ASCII,
)


def read_size(text: str) -> int:
    """Bytes, from ``64MiB``, ``4GiB`` or a plain number."""
    found = _SIZE.fullmatch(text)
    if not found or found[2] not in _SIZE_UNITS:
        raise ValueError(f"{text!r} is no size: write a number and one of B, KiB, MiB, GiB, TiB")
    return int(found[1]) * _SIZE_UNITS[found[2]]


def print_size(size: int) -> str:
    """The shortest of the forms that ``read_size`` knows."""
    for unit, factor in reversed(_SIZE_UNITS.items()):
        if factor > 1 and size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def read_duration(text: str) -> int:
    """Seconds, from ``14d``, ``12h``, ``4min30s``."""
    found = _DURATION.fullmatch(text)
    if not found or not any(found.groups()):
        raise ValueError(f"{text!r} is no duration: write it like '14d', '12h' or '4min30s'")
    return sum(int(found[unit] or 0) * seconds for unit, seconds in _DURATION_UNITS.items())


def print_duration(seconds: int) -> str:
    """Days, hours, minutes and seconds, without those that are none."""
    text = ""
    rest = seconds
    for unit, length in _DURATION_UNITS.items():
        count, rest = divmod(rest, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def read_mode(text: str) -> int:
    """A file's mode, from octal digits such as ``0640``."""
    if not re.fullmatch(r"[0-7]{3,4}", text, re.ASCII):
        raise ValueError(f"{text!r} is no mode: write octal digits in quotes, like '0640'")
    return int(text, 8)


def print_mode(mode: int) -> str:
    """Four octal digits."""
    return f"{mode:04o}"
