"""The Panda's URDF as a MuJoCo specification, fingers closed around a spoon's handle."""

# MuJoCo is a compiled module without type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import mujoco

from ladle.robot_description import mesh_root, panda_urdf
from simulation.geometry import ARM_JOINTS

_COMPILER = ('<mujoco><compiler strippath="false" discardvisual="false" fusestatic="false" '
             'balanceinertia="true" angle="radian"/></mujoco>')
_PACKAGE_PREFIX = "package://"
# The fingers' opening that holds the handle.
_FINGER_OPENING_M = 0.004
ARM_CONTACT_TYPE, WORLD_CONTACT_TYPE = 1, 2
# Shades of the links; the URDF's colours live in meshes that MuJoCo does not read.
_ARM_RGBA = (0.86, 0.87, 0.89, 1.0)
_HAND_RGBA = (0.30, 0.31, 0.33, 1.0)


def panda_spec() -> mujoco.MjSpec:
    """Seven hinges on a fixed base; the links collide with the world, not with each other."""
    spec = mujoco.MjSpec.from_string(_loadable_urdf())
    for geom in spec.geoms:
        geom.contype, geom.conaffinity = ARM_CONTACT_TYPE, WORLD_CONTACT_TYPE
        on_hand = geom.parent.name.startswith(("panda_hand", "panda_left", "panda_right"))
        geom.rgba = _HAND_RGBA if on_hand else _ARM_RGBA
        if geom.parent.name == "panda_link0":
            geom.contype = geom.conaffinity = 0
    moving = tuple(joint.name for joint in spec.joints)
    assert moving == ARM_JOINTS, moving
    return spec


def _loadable_urdf() -> str:
    """Paths made absolute, visual meshes (Collada) dropped, finger joints fixed."""
    robot = ElementTree.fromstring(panda_urdf())
    root = mesh_root().as_posix()
    for link in robot.iter("link"):
        for visual in link.findall("visual"):
            link.remove(visual)
    for mesh in robot.iter("mesh"):
        mesh.set("filename", mesh.get("filename", "").replace(_PACKAGE_PREFIX, f"{root}/"))
    for joint in robot.iter("joint"):
        if joint.get("type") == "prismatic":
            _fix_finger(joint)
    robot.append(ElementTree.fromstring(_COMPILER))
    return ElementTree.tostring(robot, encoding="unicode")


def _fix_finger(joint: ElementTree.Element) -> None:
    joint.set("type", "fixed")
    origin, axis = joint.find("origin"), joint.find("axis")
    assert origin is not None
    assert axis is not None
    place = [float(value) for value in origin.get("xyz", "0 0 0").split()]
    along = [float(value) for value in axis.get("xyz", "0 0 0").split()]
    moved = (p + _FINGER_OPENING_M * a for p, a in zip(place, along, strict=True))
    origin.set("xyz", " ".join(str(value) for value in moved))
    for tag in ("mimic", "limit", "axis", "dynamics", "safety_controller"):
        for element in joint.findall(tag):
            joint.remove(element)
