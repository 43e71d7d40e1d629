"""What is wrong with a task file, in people's words and in one short line."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

# Kind of pydantic's error, by its beginning -> what was expected instead.
EXPECTED = {
    "float": "a number", "int": "a whole number", "string": "text", "bool": "true or false", "tuple": "a list",
    "dataclass": "a mapping of keys", "dict": "a mapping of keys", "mapping": "a mapping of keys",
    "finite_number": "a finite number",
}
BOUNDS = {"greater_than_equal": ("ge", "{} or more"), "greater_than": ("gt", "more than {}"),
          "less_than_equal": ("le", "{} or less"), "less_than": ("lt", "less than {}")}
UNKNOWN_KEY = "unexpected_keyword_argument"
LONGEST_VALUE = 60


def in_words(error: ValidationError, root: type) -> str:
    """The first thing that speaks against the values that were read for the dataclass `root`."""
    # A key that is misspelt makes another one missing.
    first = min(error.errors(), key=lambda one: one["type"] != UNKNOWN_KEY)
    kind, place, context = first["type"], [str(part) for part in first["loc"]], first.get("ctx", {})
    where = ".".join(place)
    if kind == UNKNOWN_KEY:
        return _unknown(where, place[-1], _keys_at(root, place[:-1]))
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{where} is missing"
    if kind == "value_error":
        what = first["msg"].removeprefix("Value error, ")
        return f"{where}: {what}" if where else what
    if kind == "literal_error":
        return f"{where}: expected {context['expected']}, got {_shown(first['input'])}"
    if kind in BOUNDS:
        key, words = BOUNDS[kind]
        return f"{where}: expected {words.format(context[key])}, got {_shown(first['input'])}"
    expected = next((words for name, words in EXPECTED.items() if kind.startswith(name)), None)
    if expected is None:
        return f"{where}: {first['msg']}"
    return f"{where}: expected {expected}, got {_shown(first['input'])}"


def _unknown(where: str, key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{where} is no key of a task file; {guess}Known here: {', '.join(known)}"


def _keys_at(root: type, place: Sequence[str]) -> list[str]:
    """The keys that are known at this place of the file."""
    at: Any = root
    for part in place:
        at = typing.get_type_hints(at).get(part) if dataclasses.is_dataclass(at) else _dataclass_in(at)
        if typing.get_origin(at) in (typing.Union, types.UnionType):
            at = _dataclass_in(at)
    return [field.name for field in dataclasses.fields(at)] if dataclasses.is_dataclass(at) else []


def _dataclass_in(hint: Any) -> Any:
    """What a mapping or a list holds, or what may also be None."""
    return next((one for one in typing.get_args(hint) if dataclasses.is_dataclass(one)), None)


def _shown(value: Any) -> str:
    """A scalar as it was written; of anything larger only what it is."""
    if isinstance(value, Mapping):
        return f"a mapping of {len(cast(Mapping[Any, Any], value))} keys"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(cast(Sequence[Any], value))}"
    text = repr(value) if value is not None else "nothing"
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."
