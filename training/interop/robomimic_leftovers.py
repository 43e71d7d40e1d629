"""What a robomimic file holds and a replay buffer does not: attributes that are carried, and all else by name."""

from __future__ import annotations

from typing import Any, cast

import h5py

from training.interop.robomimic_layout import (
    DATA,
    MASK,
    NEXT_OBS,
    OBS,
    OWN,
    is_demo,
    is_list_of_names,
    number_of,
)

# Longer attributes (a simulator's model file) would swell a replay buffer's JSON; they are named instead.
LONGEST_ATTRIBUTE = 4096
# Attributes of data and of a demonstration that are carried or made anew.
KNOWN_OF_DATA, KNOWN_OF_DEMO = ("total", "env_args"), ("num_samples",)


def demo_attributes(data: h5py.Group, demos: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The demonstrations' own attributes by number, and the names of those that cannot be carried."""
    kept: dict[str, Any] = {}
    left: set[str] = set()
    for demo in demos:
        for name, value in cast(Any, data[demo].attrs).items():
            plain = _plain(value)
            if name in KNOWN_OF_DEMO:
                continue
            if plain is None or len(str(plain)) > LONGEST_ATTRIBUTE:
                left.add(f"the attribute {name}")
            else:
                kept.setdefault(str(number_of(demo)), {})[name] = plain
    return kept, sorted(left)


def left_behind(file: h5py.File, demos: list[str]) -> list[str]:
    """Whatever is read nowhere, each kind once."""
    data = cast(h5py.Group, file[DATA])
    top = [f"{_kind(item)} {name}" for name, item in cast(Any, file).items() if name not in (DATA, MASK, OWN)]
    top += [f"the attribute {name} of the file" for name in cast(Any, file.attrs)]
    mask = file.get(MASK)
    if isinstance(mask, h5py.Group):
        top += [f"{_kind(item)} {MASK}/{name}, which is no list of demonstrations" for name, item in
                cast(Any, mask).items() if not is_list_of_names(item)]
        for key, item in cast(Any, mask).items():
            odd = [_text(name) for name in item[()] if not is_demo(_text(name))] if is_list_of_names(item) else []
            top += [f"{len(odd)} names of {MASK}/{key} that are not demo_N, as {odd[0]}"] if odd else []
    elif mask is not None:
        top.append(f"the array {MASK}")
    top += [f"{_kind(item)} {DATA}/{name}, whose name is not demo_N" for name, item in cast(Any, data).items()
            if not (is_demo(name) and isinstance(item, h5py.Group))]
    top += [f"the attribute {name} of {DATA}{_begin(value)}" for name, value in cast(Any, data.attrs).items()
            if name not in KNOWN_OF_DATA]
    return [*top, *sorted({what for demo in demos for what in _left_of_demo(cast(h5py.Group, data[demo]))})]


def _left_of_demo(demo: h5py.Group) -> list[str]:
    left: list[str] = []
    for name, item in cast(Any, demo).items():
        if isinstance(item, h5py.Group) and name != OBS:
            left.append(f"{NEXT_OBS} (obs moved by one step)" if name == NEXT_OBS else f"the group {name}")
        elif isinstance(item, h5py.Dataset) and (not item.ndim or name == OBS):
            left.append(f"the single value {name}" if not item.ndim else f"the array {name}")
    found = demo.get(OBS)
    if isinstance(found, h5py.Group):
        left += [f"the attribute {name} of {OBS}" for name in cast(Any, found.attrs)]
    return left


def _kind(item: Any) -> str:
    return "the group" if isinstance(item, h5py.Group) else "the array"


def _begin(value: Any) -> str:
    """The beginning of what an attribute says, for people to find it again."""
    text = " ".join(str(_plain(value)).split())
    return f" ({text[:80]}{'...' if len(text) > 80 else ''})"


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _plain(value: Any) -> Any:
    """As JSON can hold it; None for what it cannot."""
    plain: Any = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, bytes):
        return plain.decode(errors="replace")
    return plain if isinstance(plain, str | int | float | bool | list) and not _holds_bytes(plain) else None


def _holds_bytes(plain: Any) -> bool:
    return isinstance(plain, list) and any(isinstance(item, bytes) or _holds_bytes(item)
                                           for item in cast(list[Any], plain))
