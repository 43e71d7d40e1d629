"""Where the training episodes began: kept in the checkpoint, so that a robot starts where the policy has been.

    checkpoints/epoch=.../starts.json   [[x, y, z, qx, qy, qz, qw], ...] of the tip at each episode's first tick, metres
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ladle.errors import CheckpointError
from ladle.pose import POSE_KEY
from training.checkpoint import Checkpoint

if TYPE_CHECKING:  # the robot reads checkpoints, and has no zarr
    from ladle.replay_buffer import ReplayBuffer

STARTS = "starts.json"
POSE_WIDTH = 7


def starts_text(buffer: ReplayBuffer, episode_mask: NDArray[np.bool_]) -> dict[str, str]:
    """File name -> content for a checkpoint: the first poses of the episodes where the mask is true.

    Empty for data without poses of an arm's tip.
    """
    if POSE_KEY not in buffer.keys() or buffer[POSE_KEY].shape[1:] != (POSE_WIDTH,):  # noqa: SIM118
        return {}
    firsts = np.concatenate([[0], buffer.episode_ends[:-1]])[episode_mask]
    poses = np.asarray(buffer[POSE_KEY].oindex[firsts], np.float64).reshape(-1, POSE_WIDTH)
    return {STARTS: json.dumps([[round(value, 6) for value in pose] for pose in poses.tolist()]) + "\n"}


def read_starts(opened: Checkpoint) -> NDArray[np.float64] | None:
    """(n, 7) where the training episodes began; None where the checkpoint does not tell.

    Raises:
        CheckpointError: damaged.
    """
    if STARTS not in opened.meta["sha256"]:
        return None
    poses = np.array(json.loads(opened.text(STARTS)), np.float64)
    if poses.ndim != 2 or poses.shape[1] != POSE_WIDTH or not bool(np.all(np.isfinite(poses))):
        raise CheckpointError(f"{opened.folder / STARTS} holds {poses.shape} numbers, not poses (n, {POSE_WIDTH}); "
                              "copy the checkpoint again")
    return poses
