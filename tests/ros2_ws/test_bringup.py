"""One description for ros2 launch and for `ladle up`."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.up import Bringup, command
from ladle.errors import DeploymentError
from ladle_bringup.description import describe
from ladle_bringup.environment import SIMULATION_DOMAIN, environment, fastdds_profile
from ladle_bringup.settings import BringupSettings, settings_from_text

WORKSPACE = Path(__file__).parents[2] / "ros2_ws" / "src"
LAUNCH_FILE = WORKSPACE / "ladle_bringup" / "launch" / "deploy.launch.py"
SETTINGS = BringupSettings(checkpoint="/runs/latest", arm_socket="/tmp/arm.sock", seed0=7, latency_s=0.05)


class _Context:
    """What ros2 launch knows: the values of the arguments."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values


def _fake_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The few names of `launch` and `launch_ros` that the launch file uses, as plain records."""

    class Record:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.arguments, self.options = arguments, options

    class LaunchConfiguration(Record):
        def perform(self, context: _Context) -> str:
            return context.values[self.arguments[0]]

    names = ("LaunchDescription", "DeclareLaunchArgument", "OpaqueFunction", "SetEnvironmentVariable", "Shutdown",
             "Node")
    records: dict[str, type] = {name: type(name, (Record,), {}) for name in names}
    records["LaunchConfiguration"] = LaunchConfiguration
    for module in ("launch", "launch.actions", "launch.substitutions", "launch_ros", "launch_ros.actions"):
        fake = types.ModuleType(module)
        fake.__dict__.update(records)
        monkeypatch.setitem(sys.modules, module, fake)


def _launched(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> list[Any]:
    """What `ros2 launch` would start for `name:=value` arguments."""
    _fake_launch(monkeypatch)
    spec = importlib.util.spec_from_file_location("deploy_launch", LAUNCH_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entities = module.generate_launch_description().arguments[0]
    values = {e.arguments[0]: e.options["default_value"] for e in _of(entities, "DeclareLaunchArgument")}
    assert set(given) <= set(values), "ros2 launch refuses arguments that are not declared"
    start: Callable[[_Context], list[Any]] = _of(entities, "OpaqueFunction")[0].options["function"]
    return start(_Context(values | given))


def _of(entities: list[Any], kind: str) -> list[Any]:
    return [entity for entity in entities if type(entity).__name__ == kind]


@pytest.mark.parametrize("controller", ["jtc", "ruckig"])
@pytest.mark.parametrize("robot", ["sim", "franka"])
def test_the_launch_file_and_ladle_up_start_the_same(
    monkeypatch: pytest.MonkeyPatch, controller: str, robot: str
) -> None:
    """Same executables, names, parameters and environment, whoever starts them."""
    settings = replace(SETTINGS, controller=controller, robot=robot, driver_limits=True)
    given = {"task": "scoop", "checkpoint": "/runs/latest", "controller": controller, "robot": robot,
             "driver_limits": "true", "arm_socket": "/tmp/arm.sock", "seed0": "7", "latency_s": "0.05"}
    launched = _launched(monkeypatch, given)

    started: list[list[str]] = []
    variables: list[dict[str, str]] = []

    class Child:
        pid, exit_code = 0, 0

        def __init__(self, name: str, line: list[str], environment: dict[str, str], log_path: Path | None) -> None:
            started.append(line)
            variables.append(environment)

    monkeypatch.setattr("app.up.ChildProcess", Child)
    with Bringup(settings) as bringup:
        assert len(bringup.nodes) == {"sim": 3, "franka": 1 if controller == "jtc" else 2}[robot]
    nodes = [e.options for e in _of(launched, "Node")]
    expected = [(n["package"], n["executable"], n["name"], n["parameters"][0]) for n in nodes]
    assert [(n.package, n.executable, n.name, dict(n.parameters)) for n in bringup.nodes] == expected
    assert started == [command(node) for node in describe(settings)]
    launch_variables = {e.arguments[0]: e.arguments[1] for e in _of(launched, "SetEnvironmentVariable")}
    assert launch_variables == environment(robot)
    if robot == "sim":  # ladle up takes a free one
        assert launch_variables.pop("ROS_DOMAIN_ID") == os.environ.get("ROS_DOMAIN_ID", SIMULATION_DOMAIN)
    assert all(launch_variables.items() <= given.items() for given in variables)


def test_a_simulated_run_is_in_no_domain_of_a_robots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in 0, where one is unless somebody says otherwise; what the user says counts, and is looked at later."""
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    assert environment("sim")["ROS_DOMAIN_ID"] not in ("", "0")
    assert "ROS_DOMAIN_ID" not in environment("franka")
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    assert environment("sim")["ROS_DOMAIN_ID"] == "7"


def test_every_described_node_exists_in_both_worlds() -> None:
    """Each executable is an entry point of its ROS package and a module that python -m can run."""
    for controller in ("jtc", "ruckig"):
        for node in describe(replace(SETTINGS, controller=controller)):
            setup = (WORKSPACE / node.package / "setup.py").read_text()
            assert f'"{node.executable} = {node.module}:main"' in setup
            assert importlib.util.find_spec(node.module) is not None
            assert ElementTree.parse(WORKSPACE / node.package / "package.xml").findtext("name") == node.package


def test_the_transport_profile_carries_images() -> None:
    """Shared memory large enough for full-size images replaces the default transports."""
    root = ElementTree.parse(fastdds_profile()).getroot()
    texts = {element.tag.rpartition("}")[2]: element.text for element in root.iter()}
    assert texts["useBuiltinTransports"] == "false"
    assert int(texts["maxMessageSize"] or 0) >= 4_000_000
    assert int(texts["segment_size"] or 0) >= 33_554_432


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"controller": "pid"}, "controller:=pid is not one of jtc, ruckig"),
        ({"robot": "franka", "lockstep": "true"}, "only robot:=sim"),
        ({"robot": "franka", "controller": "ruckig"}, "driver_limits:=true"),
        ({"policy": "replay"}, "episodes:="),
        ({"checkpoint": ""}, "checkpoint:="),
        ({"latency_s": "soon"}, "latency_s:=soon is not a float"),
        ({"speed": "1.5"}, "speed:=1.5 is not in"),
        ({"speed": "0"}, "speed:=0 is not in"),
        ({"chunking": "real_time", "speed": "0.5"}, "real_time .* speed 0.5 .* use chunking replace, or speed 1"),
        ({"chunking": "ensemble", "robot": "franka"}, "ensemble .* speed 0.1 .* use chunking replace"),
        ({"policy": "remote", "checkpoint": "x"}, "policy:=remote is served elsewhere; leave checkpoint:=x out"),
        ({"hold_button": "-1"}, "hold_button:=-1"),
        ({"autostart": "maybe"}, "autostart:=maybe is not one of , true, false"),
        ({"home": "maybe"}, "home:=maybe is not a bool"),
        ({"checkpint": "x"}, "unknown argument 'checkpint'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(given: dict[str, str], message: str) -> None:
    """A wrong argument gives one line that says what would fit, before any process starts."""
    with pytest.raises(DeploymentError, match=message):
        settings_from_text({"checkpoint": "/runs/latest", **given})


@pytest.mark.parametrize(("given", "speed"), [
    ({}, 1.0), ({"robot": "franka"}, 0.1), ({"robot": "franka", "speed": "0.3"}, 0.3), ({"speed": "0.5"}, 0.5),
])
def test_a_real_robot_is_slow_unless_told_otherwise(given: dict[str, str], speed: float) -> None:
    """A tenth of full speed on a Franka, full speed in simulation; the policy's node gets it, and what the arm is."""
    nodes = describe(settings_from_text({"checkpoint": "/runs/latest", **given}))
    parameters = next(node.parameters for node in nodes if node.executable == "policy_node")
    assert parameters["speed"] == speed
    assert parameters["real_robot"] == (given.get("robot") == "franka")


@pytest.mark.parametrize(("given", "starts_itself"), [
    ({}, True), ({"robot": "franka"}, False), ({"robot": "franka", "autostart": "true"}, True),
    ({"autostart": "false"}, False), ({"robot": "franka", "managed": "true"}, False),
])
def test_a_real_robot_waits_for_its_start_unless_told_otherwise(given: dict[str, str], starts_itself: bool) -> None:
    """Simulated runs need nobody; the node makes itself ready in both cases, unless somebody manages it."""
    nodes = describe(settings_from_text({"checkpoint": "/runs/latest", **given}))
    parameters = next(node.parameters for node in nodes if node.executable == "policy_node")
    assert parameters["autostart"] is starts_itself
    assert parameters["managed"] is ("managed" in given)
