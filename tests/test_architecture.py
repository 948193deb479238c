"""The order of imports, as docs and newcomers rely on it. One line per package; a new module needs no line of its own.

A failing test means that a module reaches into a layer above its own. Move the code that both need into the lower
layer, or pass it in as an argument. Change `MAY_IMPORT` only together with the drawing of the layers in the README.
"""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "litnets"

FOUNDATION = {
    "checkpoint_file",
    "errors",
    "escaping",
    "files",
    "former_names",
    "internals",
    "plain",
    "resolving",
    "seeding",
}
# What a package, or a module at the top, may import from litnets beside itself and the foundation.
MAY_IMPORT = {
    "nets": set[str](),
    "data": set[str](),
    "tasks": {"nets"},
    "callbacks": set[str](),
    "runs": set[str](),
    "tracking": {"runs"},
    "training": {"runs", "tracking"},
    "cli": {"nets", "data", "tasks", "callbacks", "runs", "tracking", "training"},
    "__main__": {"cli", "__version__"},
}
# Inside data, a modality uses the core and no other modality; `litnets.data` itself lists them all.
MODALITIES = ("images", "text", "audio", "tables", "series")


def modules_imported_by(path: Path) -> set[str]:
    """Modules of litnets that a file imports, wherever in the file, without the leading `litnets.`."""
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


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    allowed = MAY_IMPORT.get(package, set()) | FOUNDATION | {package}
    wrong = {name for name in modules_imported_by(path) if name.split(".")[0] not in allowed}
    assert not wrong, (
        f"src/litnets/{path.relative_to(SOURCE)} imports {', '.join(sorted(wrong))}, but {package} may import only "
        f"{', '.join(sorted(allowed - {package}))}: move what both need into the lower layer, or pass it in"
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_modalities_do_not_import_each_other(path: Path) -> None:
    parts = path.relative_to(SOURCE).parts
    if parts[0] != "data" or len(parts) != 3:
        return
    others = {f"data.{name}" for name in MODALITIES if name != parts[1]}
    if parts[1] == "core":
        others = {f"data.{name}" for name in MODALITIES}
    wrong = {name for name in modules_imported_by(path) if ".".join(name.split(".")[:2]) in others}
    assert not wrong, (
        f"{path.relative_to(SOURCE)} imports {', '.join(sorted(wrong))}: put what both need into data/core"
    )


def test_networks_import_only_torch() -> None:
    for path in (SOURCE / "nets").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {module.split(".")[0] for module in modules}
            assert roots <= {"torch", "litnets", "math", "typing", "collections"}, f"{path}: a network needs torch only"


def test_every_package_at_the_top_has_its_place() -> None:
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages <= MAY_IMPORT.keys(), "give the new package its line in MAY_IMPORT"
