"""`ladle verify`: whether a data set of any kind is what it claims to be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from app.verification_buffer import UNREADABLE, buffer_faults, buffer_notes
from app.verification_lerobot import lerobot_faults
from ladle.errors import LadleError
from ladle.script import one_line
from read_sensors_utils.verification import Fault, Verdict, verify_folder
from training.interop.kinds import Kind, kind_of
from training.interop.summary import summarise

MAKE_AGAIN = "make it again from its episodes (ladle convert), or fetch it again"


def verify(path: Path) -> Verdict:
    """Check what lies at a path.

    Raises:
        ReplayBufferError, EpisodeError: nothing there, or nothing that is known.
    """
    kind = kind_of(path)
    if kind == Kind.EPISODES:
        return verify_folder(path)
    try:
        summary = summarise(path)
    except LadleError as error:
        what, _, remedy = one_line(error).partition("; ")
        return Verdict(faults=[Fault("", what, remedy or MAKE_AGAIN)])
    verdict = Verdict(episodes=summary.episodes, faults=[Fault("", fault, MAKE_AGAIN) for fault in summary.faults])
    if verdict.faults:
        return verdict
    if kind in (Kind.ZARR, Kind.ZARR_ZIP):
        verdict.faults += [Fault("", what, MAKE_AGAIN) for what in buffer_faults(path)]
        verdict.notes += buffer_notes(path) if not verdict.faults else []
    elif kind == Kind.ROBOMIMIC:
        verdict.faults += [Fault("", what, MAKE_AGAIN) for what in _hdf5_faults(path)]
    else:
        verdict.faults += [Fault("", what, MAKE_AGAIN) for what in lerobot_faults(path, summary.steps)]
    return verdict


def as_json(verdict: Verdict) -> str:
    """One object: episodes, faults (where, what, remedy), notes."""
    faults = [{"where": fault.where, "what": fault.what, "remedy": fault.remedy} for fault in verdict.faults]
    return json.dumps({"episodes": verdict.episodes, "faults": faults, "notes": verdict.notes}, indent=1)


def _hdf5_faults(path: Path) -> Iterator[str]:
    with h5py.File(path) as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            try:
                values = np.asarray(file[name])
            except UNREADABLE as error:
                yield f"{name} cannot be read: {one_line(error)}"
                continue
            if np.issubdtype(values.dtype, np.floating) and not np.all(np.isfinite(values)):
                yield f"{name} is not finite"
