"""Damage of every kind to every format: no crash, no hang, no unbounded memory. LADLE_FUZZ_CASES raises the number."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("LADLE_FUZZ_CASES", "200"))


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ladle_fuzz", Path(__file__).with_name("fuzz.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


fuzz = _load()
CHANGES = st.lists(
    st.builds(fuzz.Change, st.sampled_from(fuzz.KINDS), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**16)),
    min_size=1, max_size=4)


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The undamaged files by name."""
    return fuzz.seeds(tmp_path_factory.mktemp("seeds"))


def test_the_undamaged_files_are_whole(sound: dict[str, bytes], tmp_path: Path) -> None:
    """Else the fuzzing would prove little."""
    outcomes: dict[str, str] = {}
    for name, data in sound.items():
        if "/" not in name:
            path = tmp_path / name
            path.write_bytes(data)
            outcomes[name] = fuzz.outcome(path)
    assert len(outcomes) == 8
    assert set(outcomes.values()) == {"whole"}


@settings(max_examples=CASES, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data(), CHANGES)
def test_no_damage_ends_in_anything_but_losses_or_one_line(
    sound: dict[str, bytes], tmp_path: Path, data: st.DataObject, changes: list[object]
) -> None:
    """Hypothesis looks for the damage, and makes it small when it has found it."""
    name = data.draw(st.sampled_from(sorted(sound)))
    damaged = bytearray(sound[name])
    for change in changes:
        damaged = change.apply(damaged)  # pyright: ignore[reportAttributeAccessIssue]
    path = tmp_path / f"case{Path(name).suffix}"
    path.write_bytes(damaged)
    assert fuzz.outcome(path) in ("whole", "losses", "error")


def test_random_damage_stays_within_the_limits_of_memory_and_time() -> None:
    """In a process that may not allocate more than the harness allows, and whose death would be seen."""
    result = fuzz.run(CASES, seed=1)
    assert not result["bugs"]
    assert sum(result["outcomes"].values()) == CASES
    assert result["peak_mb"] < 600


def test_the_harness_sees_what_it_is_there_to_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that runs forever is a hang, one that raises anything else is let through as a bug."""
    path = tmp_path / "x.mcap"
    path.write_bytes(b"")

    def forever(_path: Path) -> None:
        while True:
            pass

    def wrong(_path: Path) -> None:
        raise KeyError("x")

    monkeypatch.setattr(fuzz, "CASE_LIMIT_S", 1)
    monkeypatch.setattr(fuzz, "open_storage", forever)
    with pytest.raises(fuzz.HangError):
        fuzz.outcome(path)
    monkeypatch.setattr(fuzz, "open_storage", wrong)
    with pytest.raises(KeyError):
        fuzz.outcome(path)
