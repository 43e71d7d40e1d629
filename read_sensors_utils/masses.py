"""data.csv: the scooped mass of each recording, by the recording's own number."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from ladle.errors import BagError
from read_sensors_utils.bag_names import STORAGE_SUFFIXES

FILE = "data.csv"


def read_masses(folder: Path) -> dict[int, float]:
    """Recording number -> grams, from data.csv in the folder or, for a single recording, beside it.

    Raises:
        BagError: no file, no such columns, or a row that is not a number.
    """
    path = folder.parent / FILE if _is_recording(folder) and not (folder / FILE).is_file() else folder / FILE
    if not path.is_file():
        raise BagError(f"no {FILE} in {folder}; the task wants the scooped mass: write one with the columns index,mass")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        columns = {(name or "").strip().lower() for name in rows.fieldnames or []}
        if not {"index", "mass"} <= columns:
            raise BagError(f"{path} has the columns {', '.join(sorted(columns)) or 'none'}; "
                           "it needs index and mass (in grams)")
        masses: dict[int, float] = {}
        for row in rows:
            plain = {(name or "").strip().lower(): value for name, value in row.items() if isinstance(value, str)}
            number, mass_g = _parsed(plain, path, rows.line_num)
            if number in masses:
                raise BagError(f"{path} line {rows.line_num}: index {number} appears twice; remove one of the rows")
            masses[number] = mass_g
    return masses


def mass_of(masses: dict[int, float], number: int, folder: Path) -> float:
    """The mass of one recording.

    Raises:
        BagError: its row is missing.
    """
    if number not in masses:
        raise BagError(f"recording {number} has no row in the {FILE} of {folder} (it has {_listed(masses)}); "
                       f"add the row {number},<grams>")
    return masses[number]


def save_mass(path: Path, mass_g: float, n_ticks: int) -> None:
    """Write mass.txt: the mass at every tick."""
    rows = np.column_stack([np.arange(n_ticks), np.full(n_ticks, mass_g)])
    np.savetxt(path, rows, fmt=["%d", "%.6g"], header="tick mass_g")


def _is_recording(path: Path) -> bool:
    """Whether the path is one recording, not a folder of recordings: then data.csv may lie beside it."""
    return path.is_file() or any(file.name.endswith((".bag", *STORAGE_SUFFIXES)) for file in path.iterdir())


def _parsed(row: dict[str, str], path: Path, line: int) -> tuple[int, float]:
    try:
        number, mass_g = int(row.get("index", "")), float(row.get("mass", ""))
    except ValueError as error:
        raise BagError(f"{path} line {line}: index must be a whole number and mass a number in grams, got "
                       f"{row.get('index')!r} and {row.get('mass')!r}") from error
    if not math.isfinite(mass_g) or mass_g < 0:
        raise BagError(f"{path} line {line}: a mass of {mass_g} g cannot be; expected grams, 0 or more")
    return number, mass_g


def _listed(masses: dict[int, float]) -> str:
    numbers = sorted(masses)
    return ", ".join(map(str, numbers[:20])) + (", ..." if len(numbers) > 20 else "") if numbers else "no rows"
