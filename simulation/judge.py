"""Who says whether a scene went well: what has to hang on the spoon, still and clear over the rim."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.puree import LOAD_G

SUCCESS_MASS_G = 2.0
# A wished mass is met within this.
CLOSE_G = 0.75


@dataclass(frozen=True)
class Judge:
    """What counts as delivered, and which delivery is a success.

    Attributes:
        least_g: a load of so much that is held is delivered, and the scene is over; with less it goes on.
        wished_g: the delivered load has to be within 0.75 g of this; None takes any.
    """

    least_g: float = SUCCESS_MASS_G
    wished_g: float | None = None

    @classmethod
    def of_any_load(cls) -> Judge:
        """Whatever is held is delivered, to be weighed afterwards."""
        return cls(LOAD_G)

    @classmethod
    def of_wish(cls, wished_g: float) -> Judge:
        """Whatever is held is delivered, and it should be the wished mass."""
        return cls(LOAD_G, wished_g)

    def pleased(self, mass_g: float) -> bool:
        """Whether a delivered mass is a success."""
        return mass_g >= self.least_g and (self.wished_g is None or abs(mass_g - self.wished_g) <= CLOSE_G)
