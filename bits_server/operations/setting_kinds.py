"""The kinds of values that a settings file has: how each is read, and printed as TOML.

The rule of this file: what is read is refused with a text that says what to write instead, and what
is printed is read again to the same. A secret is not printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bits_server.operations import values
from bits_server.settings import NotificationHeader, Secret

HIDDEN = "(not shown)"


@dataclass(frozen=True, slots=True)
class Key:
    """How the value of a key is read from what TOML gives, and printed as TOML.

    ``read`` raises ValueError or TypeError with a text that says what to write instead.
    """

    read: Callable[[Any], Any]
    show: Callable[[Any], str]
    is_inherited: bool = True


def _expect(kind: type, name: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"must be {name}, not {value!r}")
        return value

    return read


def _text_list(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f'must be a list of texts, like ["127.0.0.1:8080"], not {value!r}')
    return tuple(value)


def _from_text(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    as_text = _expect(str, "a text in quotes")
    return lambda value: read(as_text(value))


def _size(value: Any) -> int:
    return value if type(value) is int else int(_from_text(values.read_size)(value))


def _size_or_none(value: Any) -> int | None:
    return None if value == "none" else _size(value)


def _duration(value: Any) -> int:
    return value if type(value) is int else int(_from_text(values.read_duration)(value))


def one_of(kind: type[Enum]) -> Key:
    def read(text: str) -> Enum:
        try:
            return kind(text)
        except ValueError as error:
            choice = ", ".join(f'"{each.value}"' for each in kind)
            raise ValueError(f"{text!r} must be one of {choice}") from error

    return Key(_from_text(read), _quoted(lambda member: str(member.value)))


def some_of(kind: type[Enum]) -> Key:
    one = one_of(kind)
    return Key(
        lambda value: tuple(one.read(text) for text in _text_list(value)),
        lambda members: "[" + ", ".join(one.show(each) for each in members) + "]",
    )


def _headers(value: Any) -> tuple[NotificationHeader, ...]:
    if not isinstance(value, dict):
        raise TypeError('must be a table like { "X-Key" = { env = "KEY" } }')
    return tuple(_header(name, given) for name, given in value.items())


def _header(name: str, given: Any) -> NotificationHeader:
    try:
        secret = _secret(given)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except TypeError as error:
        raise TypeError(f"{name} {error}") from error
    return NotificationHeader(name, secret.value, secret.source, secret.file)


def _secret(given: Any) -> Secret:
    """A value may come from elsewhere, so that a settings file need not be a secret."""
    if isinstance(given, str):
        return Secret(given)
    match given:
        case {"env": str(variable), **rest} if not rest:
            if (value := os.environ.get(variable)) is None:
                raise ValueError(f"the environment has no variable {variable}")
            return Secret(value, f"{{ env = {_quote(variable)} }}")
        case {"file": str(file), **rest} if not rest:
            try:
                with open(file, encoding="latin-1") as opened:
                    value = opened.read().rstrip("\r\n")
            except OSError as error:
                raise ValueError(f"{file} cannot be read: {error.strerror}") from error
            return Secret(value, f"{{ file = {_quote(file)} }}", file)
    raise TypeError('must be a text, { env = "NAME" } or { file = "/path" }')


def _show_secret(secret: Secret | NotificationHeader) -> str:
    return secret.source or _quote(HIDDEN)


def _show_headers(headers: tuple[NotificationHeader, ...]) -> str:
    shown = (f"{_quote(each.name)} = {_show_secret(each)}" for each in headers)
    return "{ " + ", ".join(shown) + " }" if headers else "{}"


def _quote(text: str) -> str:
    """A basic string of TOML."""
    escaped = "".join(
        f"\\u{ord(character):04x}" if ord(character) < 32 or ord(character) == 127 else character
        for character in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'


def _quoted(show: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: _quote(show(value))


TEXT = Key(_expect(str, "a text in quotes"), _quote)
TRUTH = Key(_expect(bool, "true or false"), lambda value: "true" if value else "false")
NUMBER = Key(_expect(int, "a whole number"), str)
TEXTS = Key(_text_list, lambda items: "[" + ", ".join(_quote(item) for item in items) + "]")
SIZE = Key(_size, _quoted(values.print_size))
SIZE_OR_NONE = Key(
    _size_or_none, _quoted(lambda size: "none" if size is None else values.print_size(size))
)
DURATION = Key(_duration, _quoted(values.print_duration))
MODE = Key(_from_text(values.read_mode), _quoted(values.print_mode))
HEADERS = Key(_headers, _show_headers)
SECRET = Key(_secret, _show_secret)
