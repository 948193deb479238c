"""litnets: MLP, CNN and RNN on PyTorch Lightning, from the command line or from Python.

    import litnets
    run = litnets.fit(litnets.CNNClassifier, litnets.Digits(), max_epochs=5)
    litnets.load(run).predict("digit.png")

The names listed here are imported on first use, so that `litnets --help` does not wait for torch.
"""

import ast
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from litnets.safety.resolving import import_object

__version__ = version("litnets")

# Lightning's use of torch (lightning 2.6.6 with torch 2.15), about which its users can do nothing.
warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated", FutureWarning)


def _names_in(package: str) -> list[str]:
    """Return `__all__` of a package without importing it, and torch with it."""
    tree = ast.parse((Path(__file__).parent / package / "__init__.py").read_text(encoding="utf-8"))
    assignments = [node for node in tree.body if isinstance(node, ast.Assign)]
    value = next(node.value for node in assignments if ast.unparse(node.targets[0]) == "__all__")
    names: list[str] = ast.literal_eval(value)
    return names


_MODULES = {name: package for package in ("callbacks", "data", "nets", "tasks") for name in _names_in(package)}
_MODULES |= dict.fromkeys(("fit", "load"), "api")
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'litnets' has no attribute {name!r}")
    return import_object(f"{__name__}.{_MODULES[name]}.{name}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
