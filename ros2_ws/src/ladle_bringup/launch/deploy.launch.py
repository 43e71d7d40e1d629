"""ros2 launch ladle_bringup deploy.launch.py task:=scoop checkpoint:=... controller:=jtc|ruckig robot:=sim|franka.

Hands ladle_bringup.description to the launch system; it knows no node and no parameter itself.
"""

# The launch packages exist only where ROS 2 is installed.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from dataclasses import fields

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from ladle_bringup.description import describe
from ladle_bringup.environment import environment
from ladle_bringup.settings import BringupSettings, settings_from_text

ARGUMENTS = {item.name: str(item.default) for item in fields(BringupSettings)}


def generate_launch_description():
    """Every setting is an argument; the nodes follow when the arguments are known."""
    declared = [DeclareLaunchArgument(name, default_value=default) for name, default in ARGUMENTS.items()]
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])


def _start(context):
    settings = settings_from_text({name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS})
    variables = [SetEnvironmentVariable(name, value) for name, value in environment(settings.robot).items()]
    nodes = [Node(package=node.package, executable=node.executable, name=node.name, output="screen",
                  parameters=[dict(node.parameters)], on_exit=[Shutdown()])
             for node in describe(settings)]
    return [*variables, *nodes]
