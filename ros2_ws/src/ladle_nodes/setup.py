"""Build of the ament_python package; `ladle` itself is installed beside it with pip."""

from setuptools import setup

PACKAGE = "ladle_nodes"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=[PACKAGE],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="Ladle",
    maintainer_email="ladle@example.org",
    description="The processes that carry Ladle's deployment",
    license="MIT",
    entry_points={
        "console_scripts": [
            "simulator_node = ladle_nodes.simulator_node:main",
            "jtc_node = ladle_nodes.jtc_node:main",
            "policy_node = ladle_nodes.policy_node:main",
            "ruckig_node = ladle_nodes.ruckig_node:main",
            "ring_node = ladle_nodes.ring_node:main",
            "policy_server = ladle_nodes.policy_server:main",
        ],
    },
)
