"""What the options of `ladle eval` ask of a policy's mass, refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

from ladle.errors import CheckpointError, ConfigError
from ladle.policy import Guidance
from training.checkpoint import open_checkpoint
from training.schema import PolicyConfig


def mass_wish(checkpoint: Path, target_mass_g: float | None, target_masses: str | None, weight: float | None, *,
              controls: bool = False) -> tuple[Guidance | None, tuple[Guidance, ...]]:
    """The one mass that is asked for, or the masses of a sweep; neither where none is.

    Raises:
        ConfigError: options that do not fit together, or a value that cannot be.
        CheckpointError: the policy was not told the mass in its training.
    """
    if target_mass_g is None and target_masses is None:
        if weight is not None:
            raise ConfigError(f"--guidance-weight {weight:g} has no mass to weigh; add --target-mass-g or "
                              "--target-masses")
        return None, ()
    refuse_untold_mass(checkpoint)
    pull = 1.0 if weight is None else weight
    if target_masses is None:
        assert target_mass_g is not None
        return Guidance(target_mass_g, pull), ()
    if target_mass_g is not None or controls:
        other = "--controls" if target_mass_g is None else "--target-mass-g"
        raise ConfigError(f"--target-masses runs the policy with and without asking; leave {other} out")
    return None, tuple(Guidance(target_g, pull) for target_g in parse_targets(target_masses))


def parse_targets(text: str) -> tuple[float, ...]:
    """`1.5,2.5,3.5` -> masses in grams. Raises ConfigError on anything else, and on fewer than two different ones."""
    try:
        targets = tuple(Guidance(float(word)).target_mass_g for word in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--target-masses {text!r}: expected grams with commas between, as 1.5,2.5,3.5") from error
    if len(targets) < 2 or len(set(targets)) < len(targets):
        raise ConfigError(f"--target-masses {text!r}: a slope needs at least two masses, each once, as 1.5,2.5,3.5")
    return targets


def refuse_untold_mass(checkpoint: Path) -> None:
    """Raise CheckpointError unless the policy was told the mass in its training."""
    opened = open_checkpoint(checkpoint, "policy")
    if not opened.config(PolicyConfig).mass.condition:
        raise CheckpointError(f"{opened.folder} was trained without the mass, so it cannot be asked for one; train "
                              "with mass.condition=true, or leave the target mass out")
