"""Resolve dotted names to classes. No other module of litnets imports by name.

A name in a configuration or in Python code may refer to a class in any module, which is then imported: a configuration
is as trusted as code. A name in a checkpoint may not, because a checkpoint is data that people download:

    with names_from_checkpoint("best.ckpt", trust=["mine"]):
        resolve_class("loss", "mine.Focal", nn.Module)

Inside that block, only trusted modules are imported, and attributes are looked up without running code.
"""

import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from litnets.errors import InputError, did_you_mean

# The parts of each library whose classes a checkpoint may name. Some classes elsewhere in these libraries download
# weights, read files or start processes when they are constructed (torchmetrics' LPIPS network, torch.distributed ...).
_LIBRARY_PARTS = {
    "torch": ("torch.nn", "torch.optim"),
    "torchvision": ("torchvision.ops",),
    "torchmetrics": (),
    "lightning": (),
    "pytorch_lightning": (),
    "lightning_fabric": (),
}


@dataclass(frozen=True)
class _Source:
    """The checkpoint whose names are being resolved, and what the caller trusts."""

    checkpoint: str
    modules: tuple[str, ...]
    names: frozenset[str]


_source: ContextVar[_Source | None] = ContextVar("names_from_checkpoint", default=None)


@contextmanager
def names_from_checkpoint(checkpoint: str, trust: Iterable[str] = (), names: Iterable[str] = ()) -> Iterator[None]:
    """Resolve names inside this block as if they came from a checkpoint.

    Args:
        checkpoint: The checkpoint, for errors.
        trust: Modules whose classes the checkpoint may name, submodules included; they are imported.
        names: Names that come from the caller and are resolved without restrictions.
    """
    modules = (trust,) if isinstance(trust, str) else tuple(trust)
    token = _source.set(_Source(checkpoint, modules, frozenset(names)))
    try:
        yield
    finally:
        _source.reset(token)


def resolve_class(
    argument: str,
    name: Any,
    expected: type,
    known: Mapping[str, type] | None = None,
    excluded: tuple[type, ...] = (),
) -> Any:
    """Return the class that a name refers to, without calling it.

    Args:
        argument: The argument that contains the name, such as `optimizer`; for errors.
        name: One of `known`, or the dotted path of a class.
        expected: The base class that it must derive from.
        known: Classes by their short names.
        excluded: Base classes that it must not derive from.

    Raises:
        InputError: There is no such class, it has another base class, or a checkpoint may not name it.
    """
    known = known or {}
    if not isinstance(name, str):
        raise InputError(f"{argument}: expected the name of a class, got {type(name).__name__}")
    if name in known:
        return known[name]
    if "." not in name:
        raise InputError(
            f"{argument}: no class '{name}'{did_you_mean(name, known)} (known: {', '.join(sorted(known))})"
        )
    source = _source.get()
    if source is None or name in source.names:
        found = import_object(name, argument)
    else:
        found = _find_for_checkpoint(argument, name, source)
    _check_kind(argument, name, found, expected, excluded)
    if source is not None and name not in source.names:
        _check_allowed(argument, name, found, source)
    return found


def import_object(name: str, argument: str = "class") -> Any:
    """Import and return the object that a dotted path in a configuration or in Python code refers to.

    Raises:
        InputError: The object cannot be imported.
    """
    head, *rest = _parts(argument, name)
    try:
        found: Any = importlib.import_module(head)
        path = head
        for part in rest:
            if not (_is_module(found) or _is_class(found)):  # a property of an instance would run code
                raise AttributeError(f"{path} is neither a module nor a class")
            path = f"{path}.{part}"
            if _is_module(found) and not hasattr(found, part):
                found = _import_submodule(found, path)
            else:
                found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{argument}: cannot import '{name}': {error}") from error
    return found


def find_imported(name: str) -> Any:
    """Return the object that a dotted path refers to if its module has been imported already, otherwise None."""
    parts = name.split(".")
    length = _imported_prefix(parts)
    found: Any = sys.modules.get(".".join(parts[:length]))
    for part in parts[length:]:
        found = getattr(found, part, None) if _is_module(found) or _is_class(found) else None
    return found


def _imported_prefix(parts: list[str]) -> int:
    """Return how many leading parts of a path (never all of them) name an imported module; 0 if none do."""
    lengths = range(len(parts) - 1, 0, -1)
    return next((n for n in lengths if _is_module(sys.modules.get(".".join(parts[:n])))), 0)


def _import_submodule(package: ModuleType, path: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise  # the submodule exists and imports something that does not
        raise AttributeError(f"module '{package.__name__}' has no '{path.rpartition('.')[2]}'") from error


def _find_for_checkpoint(argument: str, name: str, source: _Source) -> Any:
    parts = _parts(argument, name)
    if _within(name, source.modules):
        return import_object(name, argument)
    length = _imported_prefix(parts)
    if length == 0:
        raise _not_allowed(argument, name, source, f"{parts[0]} has not been imported")
    found: Any = sys.modules[".".join(parts[:length])]
    for part in parts[length:]:
        try:
            if not (_is_module(found) or _is_class(found)):
                raise AttributeError
            found = inspect.getattr_static(found, part)  # neither __getattr__ nor a property is called
        except AttributeError:
            raise _not_allowed(argument, name, source, "no module that has been imported has such a class") from None
    return found


def _check_kind(argument: str, name: str, found: Any, expected: type, excluded: tuple[type, ...]) -> None:
    wanted = f"{expected.__module__.partition('.')[0]}'s {expected.__name__}"
    if not _is_class(found):
        raise InputError(f"{argument}: {name} is a {type(found).__name__}; expected a class derived from {wanted}")
    wrong = next((base for base in excluded if issubclass(found, base)), None)
    if wrong is not None:
        raise InputError(f"{argument}: {name} is a {wrong.__name__}, which does not fit here")
    if not issubclass(found, expected):
        raise InputError(f"{argument}: {name} is another kind of class; expected one derived from {wanted}")


def _check_allowed(argument: str, name: str, found: type, source: _Source) -> None:
    module = found.__module__
    allowed = _LIBRARY_PARTS.get(module.partition(".")[0])
    if allowed is not None and not _within(module, (*allowed, *source.modules)):
        reason = f"of {module.partition('.')[0]}, only {' and '.join(allowed) or 'nothing'} may be named"
        raise _not_allowed(argument, name, source, reason)


def _not_allowed(argument: str, name: str, source: _Source, reason: str) -> InputError:
    module = name.rpartition(".")[0]
    return InputError(
        f"{argument}: the checkpoint {source.checkpoint} names the class {name}, which may run any code: {reason}. "
        f'If you trust it, import {module} first, or load with trust=["{module}"] (litnets predict: --trust {module})'
    )


def _parts(argument: str, name: str) -> list[str]:
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise InputError(f"{argument}: expected a dotted path such as package.module.Class, got {name[:200]!r}")
    return parts


# These use type(), because isinstance would also read the object's `__class__`, which can be a property that runs code.
def _is_module(found: Any) -> bool:
    return issubclass(type(found), ModuleType)


def _is_class(found: Any) -> bool:
    return issubclass(type(found), type)


def _within(path: str, modules: Iterable[str]) -> bool:
    return any(path == module or path.startswith(f"{module}.") for module in modules)
