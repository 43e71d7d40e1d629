"""URDF text -> the constants of one chain of joints; `ladle.kinematics` computes with them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ladle.errors import KinematicsError

Array = NDArray[np.float64]


class LinkFrame(NamedTuple):
    """Where a link of the chain is.

    Attributes:
        moving: how many of the chain's joints move it; it is fixed to the last of them, or to the base.
        fixed: (4, 4) its pose in the frame after that joint, or in the base frame.
    """

    moving: int
    fixed: Array


class ChainParts(NamedTuple):
    """What `KinematicChain` holds, see there; links: every link from base to tip by name."""

    joint_names: tuple[str, ...]
    lower_rad: Array
    upper_rad: Array
    revolute: NDArray[np.bool_]
    axes: Array
    constant: Array
    sine: Array
    versine: Array
    linear: Array
    tip: Array
    links: dict[str, LinkFrame]


def chain_parts(urdf_text: str, base_frame: str, tip_frame: str) -> ChainParts:
    """The chain from base_frame down to tip_frame.

    Raises:
        KinematicsError: not a URDF, a frame is missing (the message lists those there), or no chain joins them.
    """
    return _build(_path(urdf_text, base_frame, tip_frame), base_frame, tip_frame)


def _path(urdf_text: str, base_frame: str, tip_frame: str) -> list[ElementTree.Element]:
    """Joint elements from base to tip."""
    try:
        root = ElementTree.fromstring(urdf_text)
    except ElementTree.ParseError as error:
        raise KinematicsError(f"the robot description is not XML ({error}); expected the text of a URDF") from error
    links = [str(link.get("name")) for link in root.findall("link")]
    for frame in (base_frame, tip_frame):
        if frame not in links:
            raise KinematicsError(f"the URDF has no frame {frame!r}; it has: {', '.join(links) or 'none'}")
    by_child = {_attribute(joint, "child", "link", ""): joint for joint in root.findall("joint")}
    joints: list[ElementTree.Element] = []
    frame = tip_frame
    while frame != base_frame:
        joint = by_child.get(frame)
        if joint is None or len(joints) > len(links):
            raise KinematicsError(f"the URDF joins no chain from {base_frame!r} down to {tip_frame!r}; going up from "
                                  f"the tip ends at {frame!r}, so name a base at or below it")
        joints.insert(0, joint)
        frame = _attribute(joint, "parent", "link", "")
    return joints


def _build(joints: list[ElementTree.Element], base_frame: str, tip_frame: str) -> ChainParts:
    names: list[str] = []
    limits: list[tuple[float, float]] = []
    revolute: list[bool] = []
    axes: list[Array] = []
    terms: list[tuple[Array, Array, Array, Array]] = []
    before = np.eye(4)
    links = {base_frame: LinkFrame(0, before)}
    for joint in joints:
        name, kind = str(joint.get("name")), str(joint.get("type"))
        before = before @ _origin(joint)
        child = _attribute(joint, "child", "link", "")
        if kind == "fixed":
            links[child] = LinkFrame(len(names), before)
            continue
        if kind not in {"revolute", "continuous", "prismatic"} or joint.find("mimic") is not None:
            raise KinematicsError(f"joint {name!r} between {base_frame!r} and {tip_frame!r} is of type {kind!r} or "
                                  "mimics another; expected revolute, continuous, prismatic or fixed joints")
        axis = np.array(_numbers(_attribute(joint, "axis", "xyz", "1 0 0")))
        axis = axis / np.linalg.norm(axis)
        names.append(name)
        lower, upper = (float(_attribute(joint, "limit", side, "0")) for side in ("lower", "upper"))
        limits.append((-np.inf, np.inf) if kind == "continuous" else (lower, upper))
        revolute.append(kind != "prismatic")
        axes.append(axis)
        terms.append(_terms(before, axis, kind != "prismatic"))
        before = np.eye(4)
        links[child] = LinkFrame(len(names), before)
    if not names:
        raise KinematicsError(f"no joint moves between {base_frame!r} and {tip_frame!r}; check the task's frames")
    constant, sine, versine, linear = (np.array([term[k] for term in terms]) for k in range(4))
    return ChainParts(tuple(names), np.array([low for low, _ in limits]), np.array([high for _, high in limits]),
                      np.array(revolute), np.array(axes), constant, sine, versine, linear, before, links)


def _terms(before: Array, axis: Array, revolute: bool) -> tuple[Array, Array, Array, Array]:
    """The four matrices of one joint's transform, see KinematicChain."""
    sine, versine, linear = np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((4, 4))
    if revolute:
        cross = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
        sine[:3, :3] = before[:3, :3] @ cross
        versine[:3, :3] = before[:3, :3] @ cross @ cross
    else:
        linear[:3, 3] = before[:3, :3] @ axis
    return before, sine, versine, linear


def _origin(joint: ElementTree.Element) -> Array:
    """(4, 4) of the joint's <origin>; rpy are fixed-axis angles, R = Rz(yaw) Ry(pitch) Rx(roll)."""
    roll, pitch, yaw = _numbers(_attribute(joint, "origin", "rpy", "0 0 0"))
    (cr, sr), (cp, sp), (cy, sy) = ((np.cos(angle), np.sin(angle)) for angle in (roll, pitch, yaw))
    transform = np.eye(4)
    transform[:3, :3] = [[cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                         [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                         [-sp, cp * sr, cp * cr]]
    transform[:3, 3] = _numbers(_attribute(joint, "origin", "xyz", "0 0 0"))
    return transform


def _attribute(element: ElementTree.Element, child: str, key: str, default: str) -> str:
    found = element.find(child)
    return default if found is None else found.get(key, default)


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError as error:
        raise KinematicsError(f"the URDF holds {text!r} where three numbers are expected") from error
    if len(numbers) != 3:
        raise KinematicsError(f"the URDF holds {text!r} where three numbers are expected")
    return numbers
