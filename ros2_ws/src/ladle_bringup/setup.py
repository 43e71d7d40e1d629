"""Build of the ament_python package; `ladle` itself is installed beside it with pip."""

from setuptools import setup

PACKAGE = "ladle_bringup"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=[PACKAGE],
    package_data={PACKAGE: ["*.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", ["launch/deploy.launch.py"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="Ladle",
    maintainer_email="ladle@example.org",
    description="One description of the nodes, a launch file and a transport profile",
    license="MIT",
)
