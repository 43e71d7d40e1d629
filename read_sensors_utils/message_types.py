"""What the bytes of a message mean: from a channel to the function that decodes its messages.

A type is looked up in the recording, then among the definitions given by the user, then in the distribution's own.
Each channel gets only the types that it needs, so one definition that cannot be parsed costs no other topic, and two
files of a recording may define one type differently.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore

from ladle.errors import BagError
from read_sensors_utils.storage.records import Channel

log = logging.getLogger(__name__)

IDL_SEPARATOR = "=" * 80 + "\n"
OWN_DEFINITIONS = Path(__file__).parents[1] / "ros2_ws" / "src"
STORES = {"ros1": (Stores.ROS1_NOETIC,), "cdr": (Stores.ROS2_HUMBLE, Stores.LATEST)}
MAX_DEFINITION_CHARACTERS = 1_000_000
MAX_FIELDS = 20_000  # of one message with all its parts; code is generated for each
FILLER = "structure_needs_at_least_one_member"  # rosbags' field of a message that has none
DAMAGE = (struct.error, ValueError, LookupError, ArithmeticError, SerdeError, RecursionError, MemoryError)

Types = Mapping[str, Any]
Decoder = Callable[["bytes | memoryview"], Any]


class MessageTypes:
    """Decoders for channels.

    Args of the constructor are folders (package/msg/Type.msg anywhere below) or .msg files.

    Raises:
        BagError: a path of them does not exist or holds no definition.
    """

    def __init__(self, definitions: Iterable[Path] = ()) -> None:
        self._files = _definition_files(OWN_DEFINITIONS) if OWN_DEFINITIONS.is_dir() else {}
        for path in definitions:
            found = _definition_files(path)
            if not found:
                raise BagError(f"no message definition at {path}; expected a .msg file or package/msg/Type.msg below")
            self._files |= found
        self._given: dict[str, Types] = {}
        self._decoders: dict[tuple[str, str, str], Decoder | BagError] = {}

    def decoder(self, channel: Channel) -> Decoder:
        """The function that decodes messages of the channel; it raises BagError for one that it cannot decode.

        Raises:
            BagError: the type is defined nowhere, or its definition cannot be used.
        """
        key = channel.type_name, channel.encoding, channel.definition
        if key not in self._decoders:
            try:
                self._decoders[key] = self._built(channel)
            except BagError as error:
                self._decoders[key] = error
        found = self._decoders[key]
        if isinstance(found, BagError):
            raise found
        return found

    def _built(self, channel: Channel) -> Decoder:
        recorded, fault = _parsed(channel)
        needed: dict[str, Any] = {}
        missing = self._collect(channel, recorded, needed)
        if missing:
            user = f", which {channel.type_name} needs," if missing != channel.type_name else ""
            what = f"the type {missing}{user}"
            if fault:
                raise BagError(f"{what} has a definition in the recording that cannot be parsed ({fault[:80]}); "
                               "give its .msg file, or leave the topic out")
            raise BagError(f"{what} is not defined in the recording; give its .msg file, "
                           "or record with mcap, which stores definitions")
        try:
            if _fields_of(channel.type_name, needed, {}) > MAX_FIELDS:
                raise BagError(f"{channel.type_name} has more than {MAX_FIELDS} fields; leave the topic out")
            if channel.encoding == "ros1":
                _refuse_unbounded(needed)
            store = get_typestore(Stores.EMPTY)
            store.register(needed)
            definition = store.get_msgdef(channel.type_name)
        except (TypesysError, SyntaxError, *DAMAGE, TypeError, AssertionError) as error:
            raise BagError(f"the definition of {channel.type_name} cannot be used: {_short(error)}; "
                           "give its .msg file, or leave the topic out") from error
        return _ros1_decoder(definition, store) if channel.encoding == "ros1" else _cdr_decoder(definition, store)

    def _collect(self, channel: Channel, recorded: Types, needed: dict[str, Any]) -> str:
        """Fill in all that the channel's type consists of; returns the name of a type that is not to be found."""
        waiting = [channel.type_name]
        while waiting:
            name = waiting.pop()
            if name in needed:
                continue
            found = recorded.get(name) or self._given_types(name).get(name) or _usual_type(channel, name)
            if found is None:
                return name
            needed[name] = found if found[1] else (found[0], [(FILLER, (Nodetype.BASE, ("uint8", 0)))])
            waiting += [part for _, field in found[1] if (part := _part_of(field)) is not None]
        return ""

    def _given_types(self, name: str) -> Types:
        if name not in self._files:
            return {}
        if name not in self._given:
            path = self._files[name]
            try:
                self._given[name] = get_types_from_msg(path.read_text(encoding="utf-8"), name)
            except (OSError, UnicodeDecodeError, TypesysError) as error:
                raise BagError(f"the message definition {path} cannot be parsed: {_short(error)}") from error
        return self._given[name]


def _definition_files(path: Path) -> dict[str, Path]:
    """Type name -> .msg file."""
    files = [path] if path.is_file() else sorted(path.rglob("*.msg")) if path.is_dir() else []
    found: dict[str, Path] = {}
    for file in files:
        folder = file.resolve().parent
        found[f"{folder.parent.name if folder.name == 'msg' else folder.name}/msg/{file.stem}"] = file
    return found


def _parsed(channel: Channel) -> tuple[Types, str]:
    """Types that the channel's own definition defines, and why there are none."""
    types: dict[str, Any] = {}
    if len(channel.definition) > MAX_DEFINITION_CHARACTERS:
        return types, f"it has more than {MAX_DEFINITION_CHARACTERS} characters"
    try:
        if channel.definition_format == "msg":
            types |= get_types_from_msg(channel.definition, channel.type_name)
        elif channel.definition_format == "idl":
            for part in _idl_parts(channel.definition):
                types |= get_types_from_idl(part)
    except (TypesysError, *DAMAGE, TypeError, AssertionError) as error:
        log.debug("the definition of %s (%s) cannot be parsed: %s", channel.type_name, channel.topic, error)
        return {}, _short(error)
    return types, ""


def _idl_parts(text: str) -> list[str]:
    if not text.startswith(f"{IDL_SEPARATOR}IDL: "):
        return [text]
    return [part.split("\n", 1)[1] for part in text.split(IDL_SEPARATOR)[1:]]


def _usual_type(channel: Channel, name: str) -> Any:
    """A type as the distribution defines it that knows the channel's type, else as the latest does; None: unknown.

    Only what a recording does not define itself is worth the time that the distributions' definitions take to load.
    """
    if name in (builtin := _store_types(Stores.EMPTY)):  # stamps, which ROS 1 never defines
        return builtin[name]
    stores = STORES[channel.encoding]
    own = next((store for store in stores if channel.type_name in _store_types(store)), stores[0])
    return _store_types(own).get(name) or _store_types(stores[-1]).get(name)


@cache
def _store_types(store: Stores) -> Types:
    return get_typestore(store).fielddefs


def _part_of(field: Any) -> str | None:
    """The message type that a field consists of, None for numbers and strings."""
    kind, content = field
    while kind in {Nodetype.ARRAY, Nodetype.SEQUENCE}:
        kind, content = content[0]
    return str(content) if kind == Nodetype.NAME else None


def _fields_of(name: str, types: Types, known: dict[str, int]) -> int:
    """How many numbers, strings and arrays of numbers a message has; fixed arrays of others count with their length."""
    if name not in known:
        known[name] = MAX_FIELDS  # what a type that holds itself meets
        total = 1
        for _, (kind, content) in types[name][1]:
            times = content[1] if kind == Nodetype.ARRAY else 1
            inner = content[0] if kind in {Nodetype.ARRAY, Nodetype.SEQUENCE} else (kind, content)
            if inner[0] == Nodetype.NAME:
                total += times * _fields_of(str(inner[1]), types, known)
            else:
                total += times if inner[1][0] == "string" else 1
        known[name] = total
    return known[name]


def _refuse_unbounded(types: Types) -> None:
    """In ROS 1 a message without fields takes no bytes, so a damaged length of a list of them could not be noticed."""
    empty: set[str] = set()
    for _ in types:
        empty |= {name for name, (_, fields) in types.items()
                  if all(field == FILLER or _part_of(kind) in empty for field, kind in fields)}
    for name, (_, fields) in types.items():
        for field, kind in fields:
            if kind[0] == Nodetype.SEQUENCE and _part_of(kind) in empty:
                raise ValueError(f"{name}.{field} is a list of messages without content")


def _ros1_decoder(definition: Any, store: Any) -> Decoder:
    read, cls, name = definition.deserialize_ros1, definition.cls, definition.name

    def decode(data: bytes | memoryview) -> Any:
        try:
            return read(data, 0, cls, store)[0]
        except DAMAGE as error:
            raise BagError(f"cannot be read as {name}: {_short(error)}") from error

    return decode


def _cdr_decoder(definition: Any, store: Any) -> Decoder:
    readers = {0: definition.deserialize_cdr_be, 1: definition.deserialize_cdr_le}
    cls, name = definition.cls, definition.name

    def decode(data: bytes | memoryview) -> Any:
        view = memoryview(data)
        read = readers.get(view[1]) if len(view) >= 4 and view[0] == 0 else None
        if read is None:
            raise BagError(f"cannot be read as {name}: it begins with {bytes(view[:4]).hex() or 'nothing'}, "
                           "which is not how CDR begins (00 00 or 00 01)")
        try:
            return read(view[4:], 0, cls, store)[0]
        except DAMAGE as error:
            raise BagError(f"cannot be read as {name}: {_short(error)}") from error

    return decode


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
