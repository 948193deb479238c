"""Limits for configurations from elsewhere: the functions and classes that a run folder or checkpoint may name.

A configuration is like code: it may name any class, and functions where an argument takes one. A user reads it before
running it. A run folder is used more like a data file, with `litnets test` or `litnets resume`. Its configuration may
therefore not name functions, nor classes of Python's standard library such as subprocess.Popen.
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.safety.files import is_regular
from litnets.safety.plain import check_plain
from litnets.safety.resolving import find_imported
from litnets.tasks import Task

# A dotted path, wherever it is in a command line or a configuration.
_DOTTED_PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")

# The arguments of a task that are passed on to a loss, an optimizer or a schedule.
_PLAIN_ARGUMENTS = ("loss_args", "optimizer_args", "lr_scheduler_args")


def check_plain_arguments(options: Namespace) -> None:
    """Check that the arguments of losses, optimizers and schedules hold no classes that jsonargparse would construct.

    Raises:
        InputError: They hold one.
    """
    model = options.get("model")
    if model is None or not _is_task(find_imported(str(model.class_path))):
        return
    for name in _PLAIN_ARGUMENTS:
        check_plain(f"model.{name}", (model.get("init_args") or {}).get(name))


def check_run_config(options: Namespace, args: Sequence[str], config_paths: Iterable[Path]) -> None:
    """Check that a run folder's configuration names no functions, unless a trusted source repeats them.

    Args:
        options: The parsed options of the command. Nothing is instantiated yet.
        args: The command line, which is trusted.
        config_paths: The configuration files. Those outside of run folders are trusted.

    Raises:
        InputError: It names one.
    """
    paths = list(config_paths)
    run_config = next((path for path in paths if Run.from_config(path) is not None), None)
    if run_config is None:
        return
    user_configs = [path for path in paths if Run.from_config(path) is None and is_regular(path)]
    texts = [*args, *(path.read_text(encoding="utf-8") for path in user_configs)]
    trusted = [find_imported(name) for text in texts for name in _DOTTED_PATH.findall(text)]
    for key, value in _callables(options):
        if not any(value == one for one in trusted):
            kind = "class" if inspect.isclass(value) else "function"
            name = f"{value.__module__}.{value.__qualname__}"
            raise InputError(
                f"{key}: {run_config} names the {kind} {name}, which would be called. If you trust it, repeat the "
                "option on the command line"
            )


def check_linked_value(checkpoint: Path | None, name: str, value: Any) -> None:
    """Check that a linked attribute that comes from a checkpoint names no class.

    jsonargparse constructs such a class, a dict with a `class_path`, if the model's argument may be of any type.

    Raises:
        InputError: It names one.
    """
    if isinstance(value, (list, tuple)):
        for part in value:
            check_linked_value(checkpoint, name, part)
    elif isinstance(value, dict):
        text = str(value)[:100]
        raise InputError(f"{name}: expected numbers and strings, but checkpoint {checkpoint} names a class: {text!r}")


def _callables(value: Any, key: str = "", defaults: Any = None) -> Iterator[tuple[str, Any]]:
    """Yield functions and classes of Python's library in parsed options, except those that are a class's defaults."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        cls = find_imported(str(value["class_path"])) if "class_path" in value else None
        if inspect.isclass(cls) and cls.__module__.partition(".")[0] in sys.stdlib_module_names:
            yield f"{key}.class_path", cls
        for name, part in value.items():
            yield from _callables(part, f"{key}.{name}" if key else str(name), cls if name == "init_args" else defaults)
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from _callables(part, f"{key}[{index}]")
    elif inspect.isroutine(value) and value is not _default(defaults, key.rpartition(".")[2]):
        yield key, value


def _default(cls: Any, name: str) -> Any:
    parameters = inspect.signature(cls).parameters if inspect.isclass(cls) else {}
    return parameters[name].default if name in parameters else None


def _is_task(cls: Any) -> bool:
    return inspect.isclass(cls) and issubclass(cls, Task)
