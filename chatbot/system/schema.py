"""The one schema of what is read back: the types of what was written. Plain data of a file pass here before any use.

A type is a dataclass or a TypedDict (in a file an object with its fields; a dataclass allows no others, and one whose
default is None may be missing), `list[X]`, `tuple[X, Y]`, `tuple[X, ...]`, `dict[str, X]`, `X | None`, a Literal,
`int`, `float`, `str`, `bool` or Any. Numbers are finite, whole ones have 64 bits; `Annotated[float, Bounds(0, 1)]` says
more. Tensors are looked at in `runs.weights`.
"""

import dataclasses
import sys
import types
import typing
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from .errors import ChatbotError, shown


class Bounds(NamedTuple):
    """The least and the most that a number may be, or of text and lists their length; both included."""

    low: float
    high: float


WHOLE = Bounds(-(1 << 63), (1 << 63) - 1)
FINITE = Bounds(-sys.float_info.max, sys.float_info.max)
Count = Annotated[int, Bounds(0, 1 << 48)]
Positive = Annotated[float, Bounds(0, sys.float_info.max)]


def checked(kind: Any, value: Any, name: str) -> Any:
    """Plain data as `kind` says: a new value, in which a dataclass is one of its own.

    Raises:
        ChatbotError: it is something else; the message says what `name`, or a part of it, should be.
    """
    return _checked(kind, value, name)


def _checked(kind: Any, value: Any, name: str, bounds: Bounds | None = None) -> Any:
    origin, of = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is Annotated:
        if isinstance(value, str | list | dict) and not of[1].low <= len(value) <= of[1].high:
            raise ChatbotError(f"{name} has {len(value):,} parts, and from {of[1].low:,} to {of[1].high:,} are allowed")
        return _checked(of[0], value, name, of[1])
    if origin in (Union, types.UnionType):  # with None, as all of them are here
        others = [one for one in of if one is not type(None)]
        return None if value is None else _checked(others[0], value, name, bounds)
    if origin is list and type(value) is list:
        return [_checked(of[0], item, f"{name}[{place}]") for place, item in enumerate(value)]
    if origin is tuple and type(value) in (list, tuple) and of[-1] is Ellipsis:
        return tuple(_checked(of[0], item, f"{name}[{place}]") for place, item in enumerate(value))
    if origin is tuple and type(value) in (list, tuple) and len(value) == len(of):
        return tuple(_checked(one, item, name) for one, item in zip(of, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {_checked(of[0], key, f"a key of {name}"): _checked(of[1], value[key], _at(name, key)) for key in value}
    if origin is Literal and value in [word for word in of if type(word) is type(value)]:
        return value
    if kind in (int, float):
        return _number(kind, value, name, bounds)
    if type(value) is kind:
        return value
    if type(value) is dict and (dataclasses.is_dataclass(kind) or typing.is_typeddict(kind)):
        return _object(kind, value, name)
    raise ChatbotError(f"{name} must be {_said(kind)}, not {shown(value)}")


def _number(kind: Any, value: Any, name: str, bounds: Bounds | None) -> Any:
    if type(value) is int or (kind is float and type(value) is float):
        low, high = bounds or (FINITE if kind is float else WHOLE)
        # beyond FINITE a whole number cannot become a float; NaN lies nowhere
        if low <= value <= high and (kind is int or type(value) is float or abs(value) <= FINITE.high):
            return kind(value)
        if bounds:
            raise ChatbotError(f"{name} must be between {low} and {high}, not {shown(value)}")
    raise ChatbotError(f"{name} must be {'a finite number' if kind is float else 'int'}, not {shown(value)}")


def _object(kind: Any, value: dict[Any, Any], name: str) -> Any:
    hints = typing.get_type_hints(kind, include_extras=True)
    if not typing.is_typeddict(kind):
        needed = {field.name for field in dataclasses.fields(kind) if field.default is not None}
        for key in value.keys() - hints.keys():
            raise ChatbotError(f"{_at(name, key)} is unknown")
    else:
        needed = set(kind.__required_keys__)
    for key in sorted(needed - value.keys()):
        raise ChatbotError(f"{_at(name, key)} is missing")
    found = {key: _checked(hint, value[key], _at(name, key)) for key, hint in hints.items() if key in value}
    return value | found if typing.is_typeddict(kind) else kind(**found)


def _at(name: str, key: Any) -> str:
    return f"{name}.{key[:80] if isinstance(key, str) else shown(key)}"


def _said(kind: Any) -> str:
    """A type as a person reads it: what is an object in a file is called so."""
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        return "an object"
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind).replace("typing.", "")
