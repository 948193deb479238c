"""Look up classes by name, check the arguments that a class takes, and list the tasks that have a network."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from litnets.errors import InputError, did_you_mean

# Every subclass of Task that has a network, in the order of definition; `Task` adds them. For suggestions in errors.
NAMED_TASKS: list[Any] = []


def public_classes(module: Any, base: type) -> dict[str, Any]:
    """Return the public classes of a module that derive from `base`, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base and not name.startswith("_")
    }


def check_arguments(argument: str, cls: Callable[..., Any], names: Iterable[str], num_positional: int = 0) -> None:
    """Check that a class takes arguments of these names.

    Args:
        argument: The option that holds the arguments, such as `loss_args`; for errors.
        cls: The class.
        names: The names of the arguments.
        num_positional: Number of leading parameters that are passed by position, such as an optimizer's `params`.

    Raises:
        InputError: The class takes no argument of one of the names.
    """
    parameters = inspect.signature(cls).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    accepted = list(parameters)[num_positional:]
    for name in names:
        if name not in accepted:
            raise InputError(f"{argument}: {cls.__name__} takes no '{name}'{did_you_mean(name, accepted)}")
