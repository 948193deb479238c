"""The layers of the package: which package may import which. A new module in an existing package needs no entry.

A failing test means that a module imports from a layer above it. Move the code that both need into the lower
layer, or pass it in as an argument. Change `MAY_IMPORT` only together with the drawing of the layers in the README.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "litnets"

FOUNDATION = {"errors", "former_names", "internals", "pieces", "safety", "seeding"}
# What a package, or a top-level module, may import from litnets besides itself and the foundation.
MAY_IMPORT = {
    "nets": set[str](),
    "data": set[str](),
    "tasks": {"nets"},
    "callbacks": {"nets", "tasks"},
    "runs": set[str](),
    "tracking": {"runs"},
    "training": {"runs", "tracking"},
    "tuning": {"runs", "training"},
    "cli": {"analysis", "deploy", "tuning", "nets", "data", "tasks", "callbacks", "runs", "tracking", "training"},
    "analysis": {"runs", "tasks", "data"},
    "deploy": {"analysis", "data", "runs", "tasks"},
    "api": {"analysis", "cli", "nets", "data", "tasks", "callbacks", "runs", "tracking", "training"},
    "safety": set[str](),
    "__main__": {"cli", "__version__"},
}
# Inside data, a modality imports the core but no other modality; only `litnets.data` imports them all.
MODALITIES = ("images", "text", "audio", "tables", "series")


@cache
def modules_imported_by(path: Path) -> set[str]:
    """Return the litnets modules that a file imports anywhere, without the leading `litnets.`."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            module = node.module or ""
            names += [f"litnets.{alias.name}" for alias in node.names] if module == "litnets" else [module]
    return {name.removeprefix("litnets.") for name in names if name.startswith("litnets.")}


SOURCES = sorted(SOURCE.rglob("*.py"))


def test_imports_follow_the_layers() -> None:
    problems = []
    for path in SOURCES:
        package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        allowed = MAY_IMPORT.get(package, set()) | FOUNDATION | {package}
        forbidden = {name for name in modules_imported_by(path) if name.split(".")[0] not in allowed}
        if forbidden:
            problems.append(
                f"src/litnets/{path.relative_to(SOURCE)} imports {', '.join(sorted(forbidden))}, but {package} may "
                f"import only {', '.join(sorted(allowed - {package}))}"
            )
    assert not problems, "\n".join([*problems, "move what both need into the lower layer, or pass it in"])


def test_modalities_do_not_import_each_other() -> None:
    problems = []
    for modality in ("core", *MODALITIES):
        others = {f"data.{name}" for name in MODALITIES if name != modality}
        for path in (SOURCE / "data" / modality).glob("*.py"):
            forbidden = {name for name in modules_imported_by(path) if ".".join(name.split(".")[:2]) in others}
            if forbidden:
                problems.append(f"{path.relative_to(SOURCE)} imports {', '.join(sorted(forbidden))}")
    assert not problems, "\n".join([*problems, "put what both need into data/core"])


def test_analysis_imports_no_modality() -> None:
    """What works on a run does so for every modality."""
    for path in (SOURCE / "analysis").rglob("*.py"):
        imported = {name for name in modules_imported_by(path) if name.split(".")[0] == "data"}
        assert all(name.startswith("data.core") for name in imported), f"{path.name} imports {imported}"


def test_networks_import_only_torch() -> None:
    for path in (SOURCE / "nets").rglob("*.py"):
        # These adapt the networks of torchvision and timm, and find their weights.
        if path.name in ("backbones.py", "pretrained.py", "torchvision_unet.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {module.split(".")[0] for module in modules}
            assert roots <= {"torch", "litnets", "math", "typing", "collections"}, f"{path}: a network needs torch only"


def test_every_package_has_a_layer() -> None:
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages <= MAY_IMPORT.keys(), "add the new package to MAY_IMPORT"


def test_text_files_have_an_encoding() -> None:
    """Without one, Python reads and writes text in the encoding of the locale."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--preview", "--select", "PLW1514"]
    folders = [str(ROOT / name) for name in ("src", "benchmarks", "tools", "examples")]
    done = subprocess.run([*command, *folders], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
