"""Imports run one way: nets <- tasks <- cli, data <- cli; data and tasks never meet (they agree on the batch)."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "litnets"

# What a part may import from litnets, beside itself.
ALLOWED = {
    "errors": set(),
    "nets": set(),
    "seeding": set(),
    "data": {"errors", "seeding"},
    "run": {"errors"},
    "resume": {"errors", "run"},
    "results": set(),
    "signals": set(),
    "checkpoints": {"errors", "run"},
    "checkpoint_io": {"checkpoints", "errors"},
    "checks": {"errors", "tasks"},
    "lean": {"seeding"},
    "loggers": {"run"},
    "precision": set(),
    "tasks": {"nets", "errors"},
    "callbacks": {"checkpoint_io", "errors", "loggers", "run", "seeding", "signals"},
    "messages": {"data", "errors"},
    "__init__": set(),
    "wandb_run": {"errors", "run"},
    "sync": {"errors"},
    "__main__": {"entry", "sync", "__version__"},
    "entry": {"cli", "errors", "resume", "signals", "wandb_run"},
    "defaults": set(),
    "cli": {
        "data",
        "tasks",
        "callbacks",
        "checkpoint_io",
        "checkpoints",
        "checks",
        "defaults",
        "errors",
        "lean",
        "loggers",
        "messages",
        "precision",
        "results",
        "resume",
        "run",
        "signals",
        "wandb_run",
    },
}


def part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Parts of litnets that a file imports, wherever in the file."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += (
                [f"litnets.{alias.name}" for alias in node.names] if node.module == "litnets" else [node.module or ""]
            )
    return {name.split(".")[1] for name in names if name.startswith("litnets.")}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    assert imported(path) - {part(path)} <= ALLOWED[part(path)]


def test_networks_know_only_torch() -> None:
    for path in (SOURCE / "nets").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {m.split(".")[0] for m in modules} <= {"torch", "litnets", "math", "typing", "collections"}
