"""How well the delivered mass follows the mass that is asked for, over the same scenes for every target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ConfigError
from ladle.policy import Guidance
from simulation.judge import CLOSE_G

UNCONDITIONED = "unconditioned"


@dataclass(frozen=True)
class Delivered:
    """What one target brought.

    Attributes:
        asked_g: the target.
        conditioned_g, unconditioned_g: (n,) delivered over the same scenes, with and without asking; 0 where nothing
            was.
    """

    asked_g: float
    conditioned_g: NDArray[np.float64]
    unconditioned_g: NDArray[np.float64]

    def as_json(self) -> dict[str, float]:
        """Figures for eval_log.json."""
        return {"asked_g": self.asked_g, "scenes": len(self.conditioned_g),
                "nothing_delivered": int(np.sum(self.conditioned_g == 0.0)),
                "delivered_mean_g": float(self.conditioned_g.mean()),
                "delivered_std_g": float(self.conditioned_g.std()),
                "share_within_0.75_g": share_close(self.conditioned_g, self.asked_g),
                "unconditioned_share_within_0.75_g": share_close(self.unconditioned_g, self.asked_g)}


@dataclass(frozen=True)
class MassSweep:
    """All targets of a sweep, asked for with one weight."""

    weight: float
    targets: tuple[Delivered, ...]

    def as_json(self) -> dict[str, Any]:
        """Slope, the shares over all scenes of all targets, and each target's figures; the unconditioned slope is 0."""
        rows = [target.as_json() for target in self.targets]
        free_g = self.targets[0].unconditioned_g
        return {"guidance_weight": self.weight, "scenes_per_target": len(free_g), "slope": slope(self.targets),
                "share_within_0.75_g": float(np.mean([row["share_within_0.75_g"] for row in rows])),
                "unconditioned_share_within_0.75_g":
                    float(np.mean([row["unconditioned_share_within_0.75_g"] for row in rows])),
                "unconditioned_delivered_mean_g": float(free_g.mean()), "targets": rows}

    def lines(self) -> list[str]:
        """For people: one line for each target, and a last one over all."""
        content = self.as_json()
        rows = [f"asked {row['asked_g']:.2f} g: delivered {row['delivered_mean_g']:.2f} g, "
                f"{row['share_within_0.75_g']:.0%} within {CLOSE_G} g "
                f"(unconditioned {content['unconditioned_delivered_mean_g']:.2f} g, "
                f"{row['unconditioned_share_within_0.75_g']:.0%})" for row in content["targets"]]
        rows.append(f"slope of delivered against asked {content['slope']:.2f} (unconditioned 0), "
                    f"{content['share_within_0.75_g']:.0%} within {CLOSE_G} g "
                    f"(unconditioned {content['unconditioned_share_within_0.75_g']:.0%}), "
                    f"weight {self.weight:g}, {content['scenes_per_target']} scenes a target")
        return rows


def share_close(delivered_g: NDArray[np.float64], asked_g: float) -> float:
    """Share of (n,) masses that lie within 0.75 g of the target."""
    return float(np.mean(np.abs(delivered_g - asked_g) <= CLOSE_G))


def slope(targets: Sequence[Delivered]) -> float:
    """Least squares over all scenes of all targets: grams delivered more for each gram asked more.

    Raises:
        ConfigError: fewer than two different targets.
    """
    asked = np.concatenate([np.full(len(target.conditioned_g), target.asked_g) for target in targets])
    delivered = np.concatenate([target.conditioned_g for target in targets])
    centred = asked - asked.mean()
    if not np.any(centred):
        raise ConfigError(f"a slope needs two different target masses, got {sorted(set(asked.tolist()))}")
    return float(centred @ delivered / (centred @ centred))


def sweep(wishes: Sequence[Guidance], masses_g: Callable[[str, Guidance | None], NDArray[np.float64]]) -> MassSweep:
    """Deliver without asking, then for each wish; masses_g(name, wish) runs the scenes and weighs (n,)."""
    free_g = masses_g(UNCONDITIONED, None)
    found = [Delivered(wish.target_mass_g, masses_g(f"target_{wish.target_mass_g:g}_g", wish), free_g)
             for wish in wishes]
    return MassSweep(wishes[0].weight, tuple(found))


def delivered_g(scenes: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """(n,) grams held still over the rim at the end of each scene; 0 where nothing was delivered."""
    return np.array([float(scene["mass_g"]) if scene["delivered"] else 0.0 for scene in scenes])
