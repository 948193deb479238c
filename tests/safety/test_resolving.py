"""One module imports objects by name, and nothing else in the package runs code that comes from data."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from litnets.errors import InputError
from litnets.safety import resolving
from tests.conftest import ROOT

SOURCE = ROOT / "src" / "litnets"

IMPORTS = {"import_module", "resolve_name", "__import__", "import_object"}
FORBIDDEN = IMPORTS | {"eval", "exec", "compile", "Unpickler", "unsafe_load", "full_load"}
# Modules whose `load` runs what it reads.
PICKLES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}

# Forbidden names that a file may use nevertheless: the file, the name and the reason.
EXCEPTIONS = {
    ("safety/resolving.py", "import_module"): "the one place where names are resolved",
}
# Functions of `litnets.safety.resolving` itself.
OURS = {"import_object"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the names that are used as functions or base classes, each with its node."""
    for node in ast.walk(tree):
        used: list[ast.expr] = []
        if isinstance(node, ast.Call):
            used = [node.func, *node.args]
        elif isinstance(node, ast.ClassDef):
            used = node.bases
        for expression in used:
            if isinstance(expression, ast.Name):
                yield expression.id, node
            elif isinstance(expression, ast.Attribute):
                yield expression.attr, node


def violations(path: Path) -> list[str]:
    """Describe each place where a file imports an object by name or could run what it reads."""
    name = path.relative_to(SOURCE).as_posix() if path.is_relative_to(SOURCE) else path.name
    tree = ast.parse(path.read_text())
    places = []
    for used, node in calls(tree):
        is_allowed = used in OURS or (name, used) in EXCEPTIONS
        if used in FORBIDDEN and not is_allowed and not _is_module_eval(node, used):
            places.append(f"{name}:{node.lineno} uses {used}")  # type: ignore[attr-defined]
        owner = _owner(node)
        if used in ("load", "loads") and owner in PICKLES:
            places.append(f"{name}:{node.lineno} uses {owner}.{used}")  # type: ignore[attr-defined]
        if used == "load" and owner == "torch" and not _loads_weights_only(node):
            places.append(f"{name}:{node.lineno} uses torch.load without weights_only=True")  # type: ignore[attr-defined]
    return places


def _owner(node: ast.AST) -> str | None:
    function = node.func if isinstance(node, ast.Call) else None
    owner = function.value if isinstance(function, ast.Attribute) else None
    return owner.id if isinstance(owner, ast.Name) else None


def _is_module_eval(node: ast.AST, used: str) -> bool:
    """Whether a use of `eval` or `compile` is a method, such as `model.eval()`, or `re.compile`."""
    is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return used in ("eval", "compile") and is_method


def _loads_weights_only(node: ast.AST) -> bool:
    keywords = node.keywords if isinstance(node, ast.Call) else []
    return any(
        keyword.arg == "weights_only" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
        for keyword in keywords
    )


def test_names_are_resolved_in_one_module() -> None:
    places = [place for path in sorted(SOURCE.rglob("*.py")) for place in violations(path)]
    assert not places, (
        f"{'; '.join(places)}: a name or file from an untrusted source could run code there. Resolve names with "
        "litnets.safety.resolving.resolve_class, which checks what it imports, and read checkpoints with "
        "litnets.safety.checkpoint_file; or add the use to EXCEPTIONS with its reason"
    )


@pytest.mark.parametrize(
    "code",
    [
        "import importlib; importlib.import_module(name)",
        "from importlib import import_module; import_module(name)",
        "from pkgutil import resolve_name; resolve_name(name)",
        "list(map(resolve_name, names))",
        "__import__(name)",
        "eval(text)",
        "exec(text)",
        "import pickle; pickle.load(file)",
        "import torch; torch.load(path)",
        "import torch; torch.load(path, weights_only=False)",
        "import torch; torch.load(path, weights_only=flag)",
        "import pickle; pickle.Unpickler(file).load()",
        "import yaml; yaml.unsafe_load(text)",
    ],
)
def test_unsafe_code_is_detected(code: str) -> None:
    Path("module.py").write_text(code)
    assert len(violations(Path("module.py").absolute())) == 1


@pytest.mark.parametrize(
    "code", ["model.eval()", "net.compile()", "torch.load(path, weights_only=True)", "json.load(f)"]
)
def test_safe_code_is_accepted(code: str) -> None:
    Path("module.py").write_text(code)
    assert violations(Path("module.py").absolute()) == []


def test_every_exception_is_needed() -> None:
    for name, used in EXCEPTIONS:
        assert used in {function for function, _ in calls(ast.parse((SOURCE / name).read_text()))}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.Class", "cannot import 'nowhere.Class': No module named 'nowhere'"),
        ("collections.nothing", "cannot import 'collections.nothing': module 'collections' has no 'nothing'"),
        ("collections.OrderedDict.nothing", "cannot import"),
        ("sys.path.append", "sys.path is neither a module nor a class"),
        ("a..b", "expected a dotted path"),
        (".a", "expected a dotted path"),
        ("os.system('touch x')", "expected a dotted path"),
        ("collections.abc.Mapping", "is another kind of class; expected one derived from builtins's dict"),
        ("os.getcwd", "is a builtin_function_or_method; expected a class derived from"),
        ("collections", "no class 'collections'"),
        (3, "expected the name of a class, got int"),
    ],
)
def test_a_name_of_anything_but_an_allowed_class_is_refused(name: object, message: str) -> None:
    with pytest.raises(InputError, match="argument: ") as error:
        resolving.resolve_class("argument", name, dict)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_dotted_path_or_a_short_name_is_resolved_to_its_class() -> None:
    from collections import OrderedDict
    from xml.dom.minidom import Document

    assert resolving.resolve_class("argument", "collections.OrderedDict", dict) is OrderedDict
    assert resolving.resolve_class("argument", "short", dict, {"short": OrderedDict}) is OrderedDict
    assert resolving.resolve_class("argument", "xml.dom.minidom.Document", object) is Document


def test_the_message_for_a_failed_import_names_the_missing_module() -> None:
    Path("half").mkdir()
    Path("half/__init__.py").touch()
    Path("half/part.py").write_text("import nowhere_at_all")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(".")
        with pytest.raises(InputError, match="No module named 'nowhere_at_all'"):
            resolving.resolve_class("argument", "half.part.Class", dict)
