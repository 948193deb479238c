"""`import litnets` names the public classes without importing torch."""

import inspect
import subprocess
import sys

import pytest

import litnets
from litnets import callbacks, data, nets, tasks


@pytest.mark.parametrize("package", [callbacks, data, nets, tasks])
def test_every_public_class_is_exported(package) -> None:
    assert {*package.__all__} <= {*litnets.__all__}
    assert all(getattr(litnets, name) is getattr(package, name) for name in package.__all__)


def test_no_two_packages_export_the_same_name() -> None:
    names = [name for package in (callbacks, data, nets, tasks) for name in package.__all__]
    assert len(set(names)) == len(names)


def test_every_exported_name_is_a_class_or_a_function_of_the_api() -> None:
    functions = {name for name in litnets.__all__ if not inspect.isclass(getattr(litnets, name))}
    assert functions == {"fit", "load"}


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import litnets, sys; assert 'torch' not in sys.modules; assert 'MLPClassifier' in dir(litnets)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
