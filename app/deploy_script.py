"""What both deployment scripts do: every bring-up setting is an option, then the nodes run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from app.up import run
from ladle.script import run_script
from ladle_bringup.settings import BringupSettings, settings_from_text

PATHS = ("checkpoint", "episodes", "output", "arm_socket")


def deploy(controller: str, description: str, arguments: Sequence[str] | None = None) -> None:
    """Run the nodes with one controller; a user's error is one line and exit code 2."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for item in fields(BringupSettings):
        if item.name != "controller":
            parser.add_argument(f"--{item.name.replace('_', '-')}", default=str(item.default), metavar="VALUE",
                                help=_meanings().get(item.name, " "))
    given = {name: str(value) for name, value in vars(parser.parse_args(arguments)).items()}
    given |= {name: str(Path(given[name]).absolute()) for name in PATHS if given[name]}
    run_script(lambda: run(settings_from_text({**given, "controller": controller})))


def _meanings() -> dict[str, str]:
    """Setting -> what the class says about it."""
    found: dict[str, str] = {}
    name = ""
    for line in (BringupSettings.__doc__ or "").partition("Attributes:")[2].splitlines():
        key, colon, text = line.strip().partition(": ")
        if colon and key in BringupSettings.__dataclass_fields__:
            name, found[key] = key, text
        elif name and line.strip():
            found[name] += " " + line.strip()
    return {key: text.replace("%", "%%") for key, text in found.items()}
