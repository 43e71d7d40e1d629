"""How fast the tip may move through space.

The manufacturer's bounds are 1.7 m/s (Panda) and 3 m/s (FR3), "Robot and interface specifications"; beside a person
a small share of them is used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ladle.chain_motion import link_point
from ladle.kinematics import KinematicChain
from real_world_deployment.safety.sampled import SampledMotion, Use


class TipSpeed:
    """The linear speed of the chain's tip, from its Jacobian.

    Args:
        velocity_m_s: what is allowed.
    """

    def __init__(self, chain: KinematicChain, velocity_m_s: float) -> None:
        self.velocity_m_s = velocity_m_s
        self._chain = chain
        self._tip = [link_point(chain, chain.tip_frame)]

    def use(self, motion: SampledMotion) -> Use:
        """(m, 1) speeds along the motion, between the sparse samples interpolated."""
        speeds = np.interp(motion.at_s, motion.at_s[motion.sparse], self._sparse_speeds(motion))
        return Use("tip velocity (m/s)", speeds[:, None], np.array([self.velocity_m_s]), (self._chain.tip_frame,))

    def is_kept(self, motion: SampledMotion) -> bool:
        """Whether the speed is allowed everywhere: between two samples it is never above both of them."""
        return bool(self._sparse_speeds(motion).max() <= self.velocity_m_s)

    def _sparse_speeds(self, motion: SampledMotion) -> NDArray[np.float64]:
        """(k,) at the sparse samples."""
        velocities = motion.frames(self._chain).velocities(self._tip, motion.states.dq_rad_s[motion.sparse])
        return np.linalg.norm(velocities[0], axis=0)
