"""`make rename` on a copy of the repository: what it leaves works under the new name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from litnets import former_names
from tests.conftest import ROOT
from tests.helpers.repository import copy_repository, needs_git, python, run
from tools.rename import add_former_name, find_problem, split, wrap

OLD = former_names.__name__.partition(".")[0]
NEW = next(name for name in ("petvision", "catvision") if name != OLD)  # it may run after its own rename

pytestmark = needs_git


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository after `make rename`, as if it had been installed again."""
    copy = copy_repository(tmp_path_factory.mktemp("renamed") / "copy")
    done = python(copy, "tools/rename.py", NEW)
    assert done.returncode == 0, done.stderr
    metadata = copy / "src" / f"{NEW}-0.1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {NEW}\nVersion: 0.1.0\n")
    return copy


@pytest.mark.slow
def test_the_copy_works_under_the_new_name(renamed: Path) -> None:
    assert not (renamed / "src" / OLD).exists()
    named = run(renamed, "git", "grep", "--untracked", "--ignore-case", "--name-only", OLD).stdout.split()
    assert named == [f"src/{NEW}/former_names.py"]
    assert python(renamed, "-m", "compileall", "-q", "src", "tests", "benchmarks", "tools").returncode == 0
    for check in (("check",), ("format", "--check")):
        done = python(renamed, "-m", "ruff", *check)
        assert done.returncode == 0, done.stdout
    done = python(renamed, "-m", NEW, "--version")
    assert done.stdout == f"{NEW} 0.1.0\n"
    tests = ("tests/test_former_names.py", "tests/test_architecture.py", "tests/nets/test_mlp.py")
    done = python(renamed, "-m", "pytest", "-q", "-n", "0", *tests)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_run_from_before_is_tested_and_resumed(renamed: Path, tmp_path: Path) -> None:
    options = ["--trainer.max_epochs", "1", "--model.hidden_layer_sizes", "[8]", "--trainer.logger", "false"]
    fit = ["-m", OLD, "fit", "--config", str(ROOT / "configs" / "digits_mlp.yaml"), *options]
    done = subprocess.run([sys.executable, *fit], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("checkpoints/*/*")
    done = python(renamed, "-m", NEW, "test", "--config", str(folder / "config.yaml"))
    assert done.returncode == 0, done.stderr
    done = python(renamed, "-m", NEW, "resume", str(folder), "--trainer.max_epochs", "2")
    assert done.returncode == 0, done.stderr
    assert "trainer.max_epochs: 1 -> 2" in done.stdout


@pytest.mark.slow
def test_types_and_tests_pass_under_the_new_name(renamed: Path) -> None:
    suites = ("tests/test_architecture.py", "tests/nets", "tests/data/tables")
    for command in (("mypy",), ("pytest", "-q", "-n", "2", *suites)):
        done = python(renamed, "-m", *command)
        assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Pet-Vision", "is not a package name"),
        ("class", "is not a package name"),
        (OLD, "is already called"),
        ("torch", "is the name of an installed package"),
        ("tests", "is the name of .* a folder of this repository"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    assert re.search(reason, find_problem(tmp_path, OLD, name) or "")


def test_uncommitted_changes_are_refused(tmp_path: Path) -> None:
    copy = copy_repository(tmp_path / "copy")
    (copy / "README.md").write_text("changed")
    done = python(copy, "tools/rename.py", NEW)
    assert done.returncode == 2
    assert "uncommitted changes" in done.stderr
    assert (copy / "src" / OLD).exists()


def test_a_folder_without_git_is_refused(tmp_path: Path) -> None:
    assert "needs a git repository" in (find_problem(tmp_path, OLD, NEW) or "")


@pytest.mark.parametrize(
    ("names", "old", "new", "expected"),
    [("()", "a", "b", '("a", )'), ('("a",)', "b", "c", '("a", "b", )'), ('("a", "b")', "c", "a", '("b", "c", )')],
)
def test_each_former_name_is_kept_once(names: str, old: str, new: str, expected: str) -> None:
    source = f"FORMER_NAMES: tuple[str, ...] = {names}  # remark\n"
    assert add_former_name(source, old, new) == f"FORMER_NAMES: tuple[str, ...] = {expected}  # remark\n"


def test_long_lines_are_wrapped() -> None:
    words = "word " * 30
    comment, text = f"    # {words}end", f"    {words}end"
    assert wrap(comment, 4, False) == split(comment, "    # ")
    assert [len(line) <= 120 for line in wrap(comment, 4, False)] == [True, True]
    assert " ".join(line.removeprefix("    # ") for line in wrap(comment, 4, False)) == f"{words}end"
    assert " ".join(line.strip() for line in wrap(text, None, True)) == f"{words}end"
    behind = f"    x = 1  # {words}end"
    assert wrap(behind, 11, False)[-1] == "    x = 1"
    assert wrap('    x = "a"', None, False) == ['    x = "a"  # noqa: E501']
    assert wrap("    x = 1  # type: ignore[a]", 11, False) == ["    x = 1  # type: ignore[a]  # noqa: E501"]
    assert wrap("    x = 1  # noqa: F401", 11, False) == ["    x = 1  # noqa: E501, F401"]
