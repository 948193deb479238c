"""Apply the recipes of CONTRIBUTING.md to a copy of the repository: write their code and run their commands.

A block ```python FILE is a new file. A block ```diff FILE inserts its `+` lines after its first line.
"""

import re
import shlex
from pathlib import Path

import pytest

from litnets import __name__ as package
from tests.conftest import ROOT
from tests.helpers.repository import copy_repository, needs_git, python

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (Add [^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))


def add_lines(path: Path, diff: str) -> None:
    """Insert the lines that begin with `+` after the first line, which must occur in the file exactly once."""
    lines = path.read_text(encoding="utf-8").splitlines()
    anchor, *added = diff.splitlines()
    assert all(line.startswith("+") for line in added)
    assert lines.count(anchor[1:]) == 1, f"{path} must have one line {anchor[1:]!r}"
    position = lines.index(anchor[1:]) + 1
    lines[position:position] = [line[1:] for line in added]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_there_are_three_recipes() -> None:
    assert list(RECIPES) == ["Add a network", "Add a data set", "Add a command"]


@needs_git
@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_works(recipe: str, tmp_path: Path) -> None:
    copy = copy_repository(tmp_path / "copy")
    blocks = re.findall(r"^```(\w+) ?([^\n]*)\n(.*?)^```", RECIPES[recipe], re.DOTALL | re.MULTILINE)
    assert {kind for kind, _, _ in blocks} == {"python", "diff", "sh"}
    for kind, name, content in blocks:
        if kind == "python":
            assert not (copy / name).exists(), f"{name} exists already"
            (copy / name).write_text(content, encoding="utf-8")
        elif kind == "diff":
            add_lines(copy / name, content)
        else:
            for command in content.splitlines():
                program, *args = shlex.split(command)
                options = ["-n", "0"] if program == "pytest" else []
                done = python(copy, "-m", program, *args, *options)
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
                assert not (program == package and done.stderr), done.stderr
    done = python(copy, "-m", "ruff", "format", "--check")
    assert done.returncode == 0, done.stdout
    tests = ["tests/test_architecture.py", "tests/test_docs.py"]
    done = python(copy, "-m", "pytest", "-n", "0", *tests, "-k", "imports or public or package")
    assert done.returncode == 0, done.stdout
