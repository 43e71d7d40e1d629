"""The MuJoCo model of a scene: the arm with its spoon, table, bowl, puree, light and cameras."""

# MuJoCo is a compiled module without type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import copy
from functools import lru_cache

import mujoco
import numpy as np

from simulation import geometry as g
from simulation.robot_model import ARM_CONTACT_TYPE, WORLD_CONTACT_TYPE, panda_spec
from simulation.scene_sampling import SceneConfig

PHYSICS_STEP_S = 0.001
HFIELD_NAME, BLOB_NAME, TABLE_NAME = "puree", "blob", "table"
HAND_CAMERA, FRONT_CAMERA = "hand", "front"
_STEEL_RGBA = (0.55, 0.57, 0.60, 1.0)
_FLOOR_RGBA = (0.25, 0.26, 0.28, 1.0)


def build_model(scene: SceneConfig) -> mujoco.MjModel:
    """A model of its own for the scene; the expensive compilation happens once a process."""
    model = copy.copy(_base_model())
    apply_scene(model, scene)
    return model


def apply_scene(model: mujoco.MjModel, scene: SceneConfig) -> None:
    """Move the bowl, and set colours and light, in place."""
    model.body("bowl").pos[:2] = scene.bowl_xy_m
    for geom_id in range(model.ngeom):
        name = model.geom(geom_id).name
        if name.startswith("bowl"):
            model.geom_rgba[geom_id, :3] = scene.bowl_rgb
        elif name in (HFIELD_NAME, BLOB_NAME):
            model.geom_rgba[geom_id, :3] = scene.puree_rgb
        elif name == TABLE_NAME:
            model.geom_rgba[geom_id, :3] = scene.table_rgb
    model.light_dir[0] = scene.light_direction
    model.light_diffuse[0] = scene.light_diffuse
    model.light_ambient[0] = scene.light_ambient


@lru_cache(maxsize=1)
def _base_model() -> mujoco.MjModel:
    spec = panda_spec()
    spec.option.timestep = PHYSICS_STEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    spec.visual.headlight.ambient = spec.visual.headlight.diffuse = spec.visual.headlight.specular = [0.0] * 3
    spec.visual.quality.offsamples = 0
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 4.0
    spec.stat.extent, spec.stat.center = 1.0, [0.5, 0.0, 0.2]
    _add_spoon(spec.body(g.TIP_BODY))
    _add_cameras(spec)
    _add_table(spec)
    _add_bowl(spec)
    spec.worldbody.add_light(name="sun", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[0.5, 0, 2],
                             dir=[0, 0, -1], castshadow=False, specular=[0, 0, 0])
    return spec.compile()


def _add_spoon(hand: mujoco.MjsBody) -> None:
    contact = {"contype": ARM_CONTACT_TYPE, "conaffinity": WORLD_CONTACT_TYPE, "rgba": _STEEL_RGBA}
    hand.add_geom(name="spoon_handle", type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[0.004, 0, 0], mass=0.02,
                  fromto=[*g.HANDLE_START_M, *g.HANDLE_END_M], **contact)
    cup_quat = _quat_of_axes(g.CUP_AXIS, g.CUP_NORMAL)
    hand.add_geom(name="spoon_cup", type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, mass=0.02, pos=g.CUP_CENTRE_M,
                  size=[g.CUP_HALF_LENGTH_M, g.CUP_HALF_WIDTH_M, g.CUP_HALF_HEIGHT_M], quat=cup_quat, **contact)
    hand.add_geom(name=BLOB_NAME, type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, mass=0.0, pos=g.CUP_CENTRE_M,
                  size=[0.001, 0.001, 0.001], quat=cup_quat, contype=0, conaffinity=0, rgba=[1, 1, 1, 1])


def _add_cameras(spec: mujoco.MjSpec) -> None:
    # From the side and obliquely: seen straight from above, the height of the surface hardly shows.
    _add_camera(spec.body(g.TIP_BODY), HAND_CAMERA, np.array([0.065, 0.085, 0.03]), np.array([0.085, 0.0, 0.23]),
                np.array([1.0, 0.0, 0.0]), 60.0)
    _add_camera(spec.worldbody, FRONT_CAMERA, np.array([1.20, 0.50, 0.48]), np.array([0.50, 0.0, 0.24]),
                np.array([0.0, 0.0, 1.0]), 40.0)


def _add_camera(body: mujoco.MjsBody, name: str, at: np.ndarray, towards: np.ndarray, up: np.ndarray,
                fovy_deg: float) -> None:
    back = (at - towards) / np.linalg.norm(at - towards)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    body.add_camera(name=name, pos=at, quat=_quat(np.column_stack([right, np.cross(back, right), back])), fovy=fovy_deg)


def _add_table(spec: mujoco.MjSpec) -> None:
    contact = {"contype": WORLD_CONTACT_TYPE, "conaffinity": ARM_CONTACT_TYPE}
    spec.worldbody.add_geom(name=TABLE_NAME, type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.65, 0.8, 0.02],
                            pos=[0.45, 0.0, -0.02], rgba=[1, 1, 1, 1], **contact)
    spec.worldbody.add_geom(name="wall", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.05, 4, 3], pos=[-0.9, 0, 0],
                            rgba=_FLOOR_RGBA, **contact)
    spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[4, 4, 0.1], pos=[0, 0, -0.7],
                            rgba=_FLOOR_RGBA, **contact)


def _add_bowl(spec: mujoco.MjSpec) -> None:
    bowl = spec.worldbody.add_body(name="bowl")
    contact = {"contype": WORLD_CONTACT_TYPE, "conaffinity": ARM_CONTACT_TYPE, "rgba": [1, 1, 1, 1]}
    bowl.add_geom(name="bowl_floor", type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=[0, 0, g.BOWL_FLOOR_Z_M / 2],
                  size=[g.BOWL_RADIUS_M, g.BOWL_FLOOR_Z_M / 2, 0], **contact)
    half_width = np.tan(np.pi / g.BOWL_SEGMENTS) * (g.BOWL_RADIUS_M + g.BOWL_WALL_M)
    for segment in range(g.BOWL_SEGMENTS):
        angle = 2 * np.pi * segment / g.BOWL_SEGMENTS
        out = np.array([np.cos(angle), np.sin(angle), 0.0])
        bowl.add_geom(name=f"bowl_wall_{segment}", type=mujoco.mjtGeom.mjGEOM_BOX,
                      quat=_quat_of_axes(out, np.array([0.0, 0.0, 1.0])),
                      pos=(g.BOWL_RADIUS_M + g.BOWL_WALL_M / 2) * out + [0, 0, g.BOWL_RIM_Z_M / 2],
                      size=[g.BOWL_WALL_M / 2, half_width, g.BOWL_RIM_Z_M / 2], **contact)
    # The field's lowest part lies inside the table, so that its square corners cannot be seen.
    spec.add_hfield(name=HFIELD_NAME, nrow=g.PUREE_CELLS, ncol=g.PUREE_CELLS,
                    size=[g.PUREE_HALF_SIZE_M, g.PUREE_HALF_SIZE_M, g.BOWL_RIM_Z_M, 0.002],
                    userdata=np.zeros(g.PUREE_CELLS**2))
    bowl.add_geom(name=HFIELD_NAME, type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname=HFIELD_NAME, pos=[0, 0, -0.001],
                  contype=0, conaffinity=0, rgba=[1, 1, 1, 1])


def _quat_of_axes(x_axis: np.ndarray, z_axis: np.ndarray) -> np.ndarray:
    return _quat(np.column_stack([x_axis, np.cross(z_axis, x_axis), z_axis]))


def _quat(matrix: np.ndarray) -> np.ndarray:
    """(3, 3) rotation -> (4,) w, x, y, z, the order that MuJoCo takes."""
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, matrix.flatten())
    return quaternion
