"""Classes by their names in a configuration, and what they take."""

import inspect
from collections.abc import Callable, Iterable
from pkgutil import resolve_name
from typing import Any

from litnets.errors import InputError, did_you_mean


def public_classes(module: Any, base: type) -> dict[str, Any]:
    """The classes of a module that derive from `base`, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base and not name.startswith("_")
    }


def find_class(argument: str, name: str, known: dict[str, Any]) -> Any:
    """The class `name`; a dotted path names a class outside torch.

    Raises:
        InputError: There is none.
    """
    if name in known:
        return known[name]
    if "." in name:
        try:
            return resolve_name(name)
        except (ImportError, AttributeError) as error:
            raise InputError(f"{argument}: cannot import '{name}': {error}") from error
    raise InputError(f"{argument}: no class '{name}'{did_you_mean(name, known)} (known: {', '.join(sorted(known))})")


def check_arguments(argument: str, cls: Callable[..., Any], names: Iterable[str], given: int = 0) -> None:
    """Raises InputError if the class does not take an argument of one of the names; `given` is how many of its first
    ones are not for a configuration (the parameters of an optimiser ...)."""
    parameters = inspect.signature(cls).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = list(parameters)[given:]
    for name in names:
        if name not in known:
            raise InputError(f"{argument}: {cls.__name__} takes no '{name}'{did_you_mean(name, known)}")
