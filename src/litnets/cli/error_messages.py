"""Shorten jsonargparse's errors to one or two lines that name the mistake and suggest the nearest correct name.

The patterns match the messages of jsonargparse 4.53. Any other message is shown unchanged.
"""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.loggers import Logger

from litnets.data import Augmentation
from litnets.errors import InputError, did_you_mean
from litnets.safety.resolving import import_object

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "dict": "a mapping",
}


def format_parser_error(message: str, options: Iterable[str] = ()) -> str:
    """Return one or two lines for an error of the parser.

    Args:
        message: jsonargparse's message.
        options: The options of the command, to suggest the nearest one.
    """
    known = list(options)
    if match := re.search(r"unrecognized arguments: (\S+)|does not accept option '([^']+)'", message):
        return _no_option((match[1] or match[2]).lstrip("-").partition("=")[0], known)
    if match := re.search(r"invalid choice: '([^']+)' \(choose from (.+)\)", message):
        commands = [*re.findall(r"'?(\w+)'?", match[2]), "resume", "sync"]
        return f"no command '{match[1]}'{did_you_mean(match[1], commands)} (there are: {', '.join(commands)})"
    if match := re.search(r"is not accepted before subcommand '(\w+)'", message):
        return f"the command comes first: litnets {match[1]} --config FILE"
    if match := re.search(r"arguments are required: (.+)", message):
        names = [name.strip().rpartition(".")[2] for name in match[1].split(",")]
        if owner := re.search(r"class_path '([^']+)':\s*the following arguments are required", message):
            key = next(iter(re.findall(r'Parser key "([^"]+)"', message)), "")
            missing = " and ".join(f"--{key}.{name}" if key else name for name in names)
            return f"{missing} not given, which {owner[1].rpartition('.')[2]} needs"
        missing = " and ".join("--" + name for name in names)
        return f"{missing} not given; give --model CLASS --data CLASS, or a complete experiment with --config FILE"
    if message.startswith("Unexpected config"):
        return "config: the file is empty or holds no keys; see configs/digits_mlp.yaml for one that works"
    if match := re.search(r"Problems parsing config: (.+)", message, re.DOTALL):
        return f"config: not valid YAML: {' '.join(match[1].split())}"
    if match := re.search(r"File does not exist: '([^']+)'", message):
        path = Path(match[1])
        files = [file.name for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        return f"config: no file {path}{did_you_mean(path.name, files)}"
    return _bad_value(message) or " ".join(message.split())


def _no_option(name: str, known: list[str]) -> str:
    # Of a misspelled group, show only the group: modell.class_path -> modell.
    head = name.partition(".")[0]
    tops = {option.partition(".")[0] for option in known}
    if head not in tops:
        return f"no option '{head}'{did_you_mean(head, tops)}"
    if head in ("model", "data"):
        return f"{head}: expected a class first, such as --{head} {'MLPClassifier' if head == 'model' else 'Digits'}"
    return f"no option '{name}'{did_you_mean(name, known)}"


def _bad_value(message: str) -> str | None:
    key = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    if match := re.search(r"Option '([^']+)' is not accepted", message):
        classes = re.findall(r"class_path '([^']+)'", message)
        options = init_arguments(import_object(classes[-1])) if classes else []
        owner = classes[-1].rpartition(".")[2] if classes else key
        return f"{key}: {owner} has no option '{match[1]}'{did_you_mean(match[1], options)}"
    path = re.search(r"Expected a dot import path string: (.+)|class_path '([^']+)'", message)
    missing = re.search(r"No module named '([^']+)'", message)
    if path and (path[1] or (missing and f"{path[2]}.".startswith(f"{missing[1]}."))):
        name = path[1] or path[2]
        return f"{key}: no class '{name}'{did_you_mean(name, _class_names())}"
    given = re.search(r"(?:Given value|Got value): (.*)", message)
    expected = re.findall(r"Expected (?:an? )?(<class '[^']+'>|typing\.Literal\[[^]]*\]|[\w.]+\[[^\n]*\])", message)
    choices = [choice for literal in expected for choice in re.findall(r"'([^']+)'", literal) if "Literal" in literal]
    if not key or given is None or not expected:
        return None
    value = given[1]
    if nested := re.search(r"NestedArg\(key='([^']+)', val='?(.*?)'?\)$", value):
        value = nested[2]
    if choices:
        return f"{key}: no '{value}'{did_you_mean(value, choices)} (there are: {', '.join(dict.fromkeys(choices))})"
    kinds = dict.fromkeys(_kind(name) for name in expected if "NoneType" not in name)
    if not kinds and (said := re.search(r"Errors:\s*- (?:Problem with given class_path '[^']+':\s*)?(.+)", message)):
        # The module of a user's class cannot be imported, or lacks it.
        return f"{key}: {path[2] if path else value}: {said[1]}"
    return f"{key}: expected {' or '.join(kinds)}, got {value!r}"


def _kind(name: str) -> str:
    bare = re.sub(r"<class '([^']+)'>", r"\1", name).rpartition(".")[2].partition("[")[0]
    return {"Sequence": "a list"}.get(bare) or _KINDS.get(bare, bare)


def init_arguments(cls: Any) -> list[str]:
    """Return the arguments of a class and of its base classes, to which it may pass on others."""
    return [
        name for base in inspect.getmro(cls) if "__init__" in vars(base)
        for name in inspect.signature(vars(base)["__init__"]).parameters if name not in ("self", "args", "kwargs")
    ]  # fmt: skip


def _class_names() -> list[str]:
    found: list[type] = [LightningModule, LightningDataModule, Callback, Logger, Augmentation]
    for cls in found:
        found.extend(cls.__subclasses__())
    return [cls.__name__ for cls in found]


def first_cause(error: BaseException) -> BaseException:
    """Return the error that a constructor raised, which jsonargparse wraps in errors of its own."""
    while not isinstance(error, InputError):
        earlier = error.__cause__ or error.__context__
        if earlier is None:
            break
        error = earlier
    return error
