"""One tree of errors that are the user's to mend.

A message names the value, what was expected and the remedy. The command line prints it in one line and exits
with code 2; everything outside this tree is a bug and keeps its traceback.
"""


class LadleError(Exception):
    """Root of every error that the user can mend."""


class TaskError(LadleError, ValueError):
    """A task file says something that does not fit."""


class KinematicsError(LadleError, ValueError):
    """A URDF lacks a frame or a joint, or a pose cannot be reached."""


class BagError(LadleError):
    """A recording cannot be read, or lacks what the task needs."""


class EpisodeError(LadleError, ValueError):
    """An episode is missing, half-made, or its arrays do not share one clock."""


class ReplayBufferError(LadleError, ValueError):
    """A replay buffer cannot be read or does not hold what is asked of it."""


class LabelError(LadleError, ValueError):
    """Labels are missing or do not cover the frames."""


class ConfigError(LadleError, ValueError):
    """A configuration holds an unknown key or a value that cannot work."""


class CheckpointError(LadleError, ValueError):
    """A checkpoint is damaged, or was made for something else."""


class ObservationError(LadleError):
    """The robot's sensors do not give what the policy needs: too old, too few, not finite."""


class MotionError(LadleError, ValueError):
    """A motion was refused: it would break a limit, or cannot be planned."""


class TooFastError(MotionError):
    """A motion breaks a limit of velocity, acceleration or jerk; slower along the same path it may do."""


class DeploymentError(LadleError):
    """A process, topic or package that a run needs is not there."""


class ImplausibleJointsError(ObservationError):
    """A joint state is not finite, or no arm can be where it says."""


class PolicyGoneError(DeploymentError):
    """The policy's process has ended or fallen silent: no answer will come from it any more."""


class SimulationError(LadleError):
    """The simulator cannot do what is asked of it."""
