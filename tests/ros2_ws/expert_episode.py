"""An episode as extraction would write it, made from the expert's plan without bags or images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ladle.episode import DESCRIPTION_FILE, EEF_FILE, TARGET_FILE, EpisodeFolder
from ladle.kinematics import KinematicChain
from ladle.pose import make_continuous
from ladle.robot_description import panda_urdf
from simulation.expert import plan
from simulation.scene_sampling import sample_scene
from simulation.wished_load import dip_for

CYCLES_PER_TICK = 100


def write_expert_episode(root: Path, seed: int, wished_g: float | None = None) -> None:
    """Episode 0 in `root`: the expert in training scene `seed`, at 10 Hz; asked for a mass, or with a full spoon."""
    scene = sample_scene(seed, "train")
    dip = None if wished_g is None else dip_for(scene, wished_g)
    joints = plan(scene, dip=dip)[CYCLES_PER_TICK - 1 :: CYCLES_PER_TICK]
    poses = KinematicChain.from_urdf(panda_urdf(), "panda_link0", "panda_hand").forward(joints)
    poses[:, 3:] = make_continuous(poses[:, 3:])
    times_s = 0.1 * np.arange(1, len(joints) + 1)
    with EpisodeFolder(root).writer(0) as writer:
        folder = writer.folder("actions")
        np.save(folder / EEF_FILE, poses)
        np.save(folder / TARGET_FILE, np.vstack([poses[1:], poses[-1:]]))
        np.savez(writer.stamps, decision_s=times_s, observation_s=times_s, joints=joints,
                 target_joints=np.vstack([joints[1:], joints[-1:]]))
        (folder / DESCRIPTION_FILE).write_text(json.dumps({}))
