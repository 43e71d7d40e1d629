"""What every motion passes before it is sent, and what must be known good before any motion.

`MotionLimits.check` is the one door for trajectories, `StartGate` the one for runs. Nothing is clipped: a motion that
is too fast is slowed along its own path (`retimed`), one that cannot be made safe is refused with the reason.
"""

from real_world_deployment.safety.joint_limits import MotionLimits
from real_world_deployment.safety.retiming import retimed, within_limits
from real_world_deployment.safety.seam import check_seam

__all__ = ["MotionLimits", "check_seam", "retimed", "within_limits"]
