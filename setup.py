"""Lists the packages: the core as it lies, and the three top-level folders under the prefix `cnnir.`."""

from setuptools import find_packages, setup

MAPPED = ("frontends", "passes", "backends")

core = find_packages(include=["cnnir", "cnnir.*"], exclude=[f"cnnir.{name}*" for name in MAPPED])
mapped = find_packages(include=[pattern for name in MAPPED for pattern in (name, f"{name}.*")])

setup(packages=core + [f"cnnir.{name}" for name in mapped])
