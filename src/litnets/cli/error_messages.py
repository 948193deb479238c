"""Shorten jsonargparse's errors to one or two lines that name the mistake and suggest the nearest correct name.

The patterns match the messages of jsonargparse 4.53. Any other message is shown unchanged.
"""

import inspect
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.loggers import Logger

from litnets.cli.run_argument import split_options
from litnets.cli.slips import check_help, correct_argument, correct_option, find_config, value_of
from litnets.data import ArrayDataModule, Augmentation
from litnets.errors import InputError, alternatives, did_you_mean
from litnets.safety.escaping import printable
from litnets.safety.files import is_regular
from litnets.safety.plain import Loader
from litnets.safety.resolving import import_object
from litnets.tasks import Task

_LOCATIONS = ("root", "path", "data_dir")  # options of the DataModules for where their files are

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a string",
    "list": "a list",
    "dict": "a mapping",
}
_BOUNDS = {">=": "of at least", ">": "above", "<=": "of at most", "<": "below"}
_NOT_A_NUMBER = "restriction v|invalid literal for int|string to float|not an integer|not a number"


def parse_options(parser: ArgumentParser, command_parser: ArgumentParser, args: Sequence[str]) -> Namespace:
    """Return the parsed options of a command.

    Args:
        parser: The parser of all commands.
        command_parser: The parser of the command.
        args: The arguments of the command line, from the command on.

    Raises:
        InputError: The options cannot be parsed. The message has one or two lines, with the arguments that work if they
            are known.
    """
    if len(args) > 1 and not args[1].startswith("-"):
        raise InputError(correct_argument(args))
    check_help(args)
    try:
        return parser.parse_args(args)
    except ArgumentError as error:
        raise InputError(format_parser_error(str(error), command_parser.get_defaults(), args)) from error
    except (InputError, BrokenPipeError):  # BrokenPipeError: of --print_config
        raise
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8, or a number with thousands of digits
        raise InputError(f"config: cannot be read: {error}") from error


def format_parser_error(message: str, defaults: Namespace, args: Sequence[str]) -> str:
    """Return an error of the parser in one or two lines, with the arguments that work if they are known.

    Args:
        message: The message of jsonargparse.
        defaults: The default values of the command's options.
        args: The arguments of the command line, from the command on.
    """
    known = list(defaults.keys())
    if match := re.search(r"unrecognized arguments: (\S+)|does not accept option '([^']+)'", message):
        return _no_option(match[1] or match[2], known, args)
    if match := re.search(r"argument (?:-\w/)?--([\w.]+): expected one argument", message):
        return _no_value(match[1], defaults)
    if match := re.search(r"^Parser key \"(\w+)\":\s*Unable to load config", message):
        return _no_option(f"--{match[1]}", known, args)
    if match := re.search(r"invalid choice: '([^']+)' \(choose from (.+)\)", message):
        commands = [*re.findall(r"'?(\w+)'?", match[2]), "resume", "sync"]
        return f"no command '{match[1]}'{did_you_mean(match[1], commands)} (choose from: {', '.join(commands)})"
    if match := re.search(r"is not accepted before subcommand '(\w+)'", message):
        return f"the command comes first: litnets {match[1]} --config FILE"
    if match := re.search(r"arguments are required: (.+)", message):
        names = [name.strip().rpartition(".")[2] for name in match[1].split(",")]
        if owner := re.search(r"class_path '([^']+)':\s*the following arguments are required", message):
            key = next(iter(re.findall(r'Parser key "([^"]+)"', message)), "")
            missing = " and ".join(f"--{key}.{name}" if key else name for name in names)
            return f"{missing} not given, which {owner[1].rpartition('.')[2]} needs"
        missing = " and ".join("--" + name for name in names)
        if args[0] != "fit" and len(args) == 1:
            return f"no run given: litnets {args[0]} RUN, a run folder or the name of an experiment"
        return f"{missing} not given; give --model CLASS --data CLASS, or a complete experiment with --config FILE"
    if message.startswith("Unexpected config"):
        return "config: the file is empty or holds no keys; see configs/digits_mlp.yaml for one that works"
    if match := re.search(r"Problems parsing config: (.+)", message, re.DOTALL):
        problem = " ".join(match[1].split())
        return problem if "is there twice" in problem else f"config: not valid YAML: {problem}"
    if match := re.search(r"File does not exist: '([^']+)'", message):
        return _no_config(Path(match[1]))
    return _bad_value(message, known, args) or " ".join(message.split())


def format_build_error(error: BaseException) -> str:
    """Return the message of a constructor's error, in one line."""
    message = str(error)
    if isinstance(error, UnicodeEncodeError):
        name = printable(str(error.object))
        return f"{name}: the locale has no such characters in file names; set PYTHONUTF8=1, or LC_ALL=C.UTF-8"
    if re.search(r"backend found|can not run on your system|No supported", message):
        return (
            "trainer.accelerator: this machine has no such device, or PyTorch was installed without support for it; "
            "leave the option out, or give --trainer.accelerator auto"
        )
    if message.startswith(("`devices` selected with", "`Trainer(devices=")):
        return "trainer.devices: expected a number of devices, such as --trainer.devices 1, or --trainer.devices auto"
    return message


def _no_option(argument: str, known: list[str], args: Sequence[str]) -> str:
    name, _, value = argument.lstrip("-").partition("=")
    if not argument.startswith("-") and "=" in argument and "." in name:
        return f"options begin with --: --{name} {shlex.quote(value)}"
    if argument in args[1:] and Path(argument).exists():  # predict RUN FILE
        options = {"predict": "--data.predict_path", "test": "--on"}
        if option := options.get(args[0]):
            return f"{printable(argument)} is not an option; did you mean {option} {shlex.quote(argument)}?"
    head = name.partition(".")[0]
    tops = {option.partition(".")[0] for option in known}
    if meant := correct_option(name, args, [*known, *class_options()]):
        if argument.startswith("-") or value_of(name, args) is not None:
            return f"no option --{name}; did you mean {meant}?"
        return f"no option '{name}'; did you mean '{meant.removeprefix('--')}'?"  # in a configuration
    # Of a misspelled group, show only the group: modell.class_path -> modell.
    if head not in tops:
        return f"no option '{head}'{did_you_mean(head, tops)}"
    if head in ("model", "data"):
        return _no_class_given(head)
    if name in tops:
        return f"--{name} is a group of options, which are given as --{name}.KEY VALUE"
    return f"no option '{name}'{did_you_mean(name, known)}"


def _no_class_given(part: str) -> str:
    example = "MLPClassifier" if part == "model" else "Digits"
    return f"{part}: expected a class first, such as --{part} {example}, or a configuration: --config FILE"


def _no_value(name: str, defaults: Namespace) -> str:
    if meant := correct_option(name, (), ()):
        return f"--{name} needs a value; did you mean {meant}?"
    example = "true" if isinstance(defaults.get(name), bool) else "FILE" if name == "config" else "VALUE"
    return f"--{name} needs a value: --{name} {example}"


def _no_config(path: Path) -> str:
    here = Path.cwd()
    name = str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
    if meant := find_config(name):
        return f"config: no file {name}; did you mean --config {shlex.quote(meant)}?"
    if name == "onfig":  # -config
        return "config: no file onfig; options begin with two dashes: --config FILE"
    if Path(name).parts[:1] == ("configs",) and not Path("configs").exists():
        where = "the shipped configurations are in a clone of litnets, not in the installed package"
        return f"config: no file {name}; {where}: run the command there, or pass the complete path"
    files = [file.name for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    return f"config: no file {name}{did_you_mean(path.name, files)}"


def _bad_value(message: str, known: list[str], args: Sequence[str]) -> str | None:
    key = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    if match := re.search(r"Option '([^']+)' is not accepted", message):
        classes = re.findall(r"class_path '([^']+)'", message)
        options = init_arguments(import_object(classes[-1])) if classes else []
        owner = classes[-1].rpartition(".")[2] if classes else key
        if owner in ("LightningModule", "LightningDataModule"):
            return _no_class_given(key)
        name = f"{key}.{match[1]}"
        meant = correct_option(name, args, [*known, *class_options()])
        if meant is None and match[1] in _LOCATIONS:
            meant = next((f"--{key}.{location}" for location in _LOCATIONS if location in options), None)
        hint = f"; did you mean {meant}?" if meant else did_you_mean(match[1], options)
        return f"{key}: {owner} has no option '{match[1]}'{hint}"
    path = re.search(r"Expected a dot import path string: (.+)|class_path '([^']+)'", message)
    missing = re.search(r"No module named '([^']+)'", message)
    if path and (path[1] or (missing and f"{path[2]}.".startswith(f"{missing[1]}."))):
        return _no_class(key, path[1] or path[2], args)
    given = re.search(r"(?:Given value|Got value): (.*)", message)
    if match := re.search(rf"Not of type \w+: (.*(?:{_NOT_A_NUMBER}).*)", message):
        number = given[1] if given else value_of(key, args)
        return None if number is None else _bad_number(key, match[1], number, args)
    expected = re.findall(r"Expected (?:an? )?(<class '[^']+'>|typing\.Literal\[[^]]*\]|[\w.]+\[[^\n]*\])", message)
    choices = [choice for literal in expected for choice in re.findall(r"'([^']+)'", literal) if "Literal" in literal]
    if not key or given is None or not expected:
        return None
    value = given[1]
    if nested := re.search(r"NestedArg\(key='([^']+)', val='?(.*?)'?\)$", value):
        value = nested[2]
    if choices:
        return f"{key}: no '{value}'{did_you_mean(value, choices)} (choose from: {', '.join(dict.fromkeys(choices))})"
    kinds = dict.fromkeys(_kind(name) for name in expected if "NoneType" not in name)
    if not kinds and (said := re.search(r"Errors:\s*- (?:Problem with given class_path '[^']+':\s*)?(.+)", message)):
        # The module of a user's class cannot be imported, or lacks it.
        return f"{key}: {path[2] if path else value}: {said[1]}"
    return f"{key}: expected {alternatives(kinds)}, got {value!r}{_value_hint(key, list(kinds), value, args)}"


def _bad_number(key: str, reason: str, value: str, args: Sequence[str]) -> str:
    """Return the error of a number that is restricted to a range, as by PositiveInt.

    Args:
        key: The option.
        reason: jsonargparse's reason, such as `0 does not conform to restriction v>0`.
        value: The value of the option.
        args: The arguments of the command line.
    """
    if match := re.search("restriction (.+)", reason):
        bounds = re.sub("v(>=|>|<=|<)", lambda comparison: f"{_BOUNDS[comparison[1]]} ", match[1])
        return f"{key}: expected a number {bounds}, got {value!r}"
    kind = "a number" if "float" in reason else "a whole number"
    return f"{key}: expected {kind}, got {value!r}{_value_hint(key, [kind], value, args)}"


def _no_class(key: str, name: str, args: Sequence[str]) -> str:
    typed = value_of(key, args) or name
    if key == "data" and Path(typed).is_dir():
        return f"data: expected a class, got the folder {typed}; did you mean --data ImageFolder --data.root {typed}?"
    if key == "data" and Path(typed).is_file():
        example = f"--data TableCSV --data.path {shlex.quote(typed)} --data.target COLUMN"
        return f"data: expected a class, got the file {typed}; did you mean {example}?"
    option = key or next((arg.lstrip("-") for arg in args if arg.endswith(".help")), "class")
    return f"{option}: no class '{name}'{did_you_mean(name, _class_names())}"


def _value_hint(key: str, kinds: Sequence[str], value: str, args: Sequence[str]) -> str:
    """Return `; write --key value` with the value that was probably meant, or with an example."""
    typed = value_of(key, args)
    is_from_file = typed is None or not (value in typed or typed.startswith("["))
    if "a string" in kinds and is_from_file:
        return f'; put quotes around it: {key.rpartition(".")[2]}: "{_spelling(key, args) or value}"'
    if "a string" in kinds:
        return f"; put quotes around what is a string: --{key} {shlex.quote(_quote_items(typed or value))}"
    if "a list" in kinds:
        items = _following_values(key, args) or [value]
        meant, example = "[" + ", ".join(re.findall(r"[^\s,;()\[\]]+", " ".join(items))) + "]", ""
    elif typed is not None and typed.startswith("["):
        return ""  # the value is an item of the list
    elif "a whole number" in kinds:
        meant, example = _whole_number(value), "32"
    elif "a number" in kinds:
        meant, example = _number(value), "0.1"
    elif "true or false" in kinds:
        meant, example = "false" if value.lower().startswith(("n", "f", "off", "0", "disable")) else "true", ""
    else:
        return ""
    words, argument = "write" if meant else "for example", shlex.quote(meant or example)
    return f"; {words} --{key} {argument}" if typed is not None else f"; {words} {argument}"


def _whole_number(value: str) -> str:
    """Return the whole number nearest to a number, or an empty string."""
    try:
        return str(max(1, round(float(value))))
    except (ValueError, OverflowError):  # OverflowError: infinity
        return ""


def _number(value: str) -> str:
    """Return a number that is written as 0,01 or 20% as YAML reads it, or an empty string."""
    if re.fullmatch(r"-?\d+,\d+", value):
        return value.replace(",", ".")
    return f"{float(value[:-1]) / 100:g}" if re.fullmatch(r"\d+(\.\d+)? ?%", value) else ""


def _spelling(key: str, args: Sequence[str]) -> str | None:
    """Return how a configuration writes a value that YAML does not read as a string: `1e3`, not 1000.0."""
    paths = [Path(value) for name, value in pairwise(split_options(list(args))) if name in ("--config", "-c")]
    for path in reversed([path for path in paths if is_regular(path)]):
        for value in _find_values(yaml.compose(path.read_text(encoding="utf-8"), Loader=Loader), key.split(".")):
            for node in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(node, yaml.ScalarNode) and not node.tag.endswith(":str"):
                    return str(node.value)
    return None


def _find_values(node: yaml.Node, names: list[str]) -> Iterator[yaml.Node]:
    if not names:
        yield node
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if names and name.value in (names[0], "init_args"):
            yield from _find_values(value, names[name.value == names[0] :])


def _following_values(key: str, args: Sequence[str]) -> list[str]:
    """Return the arguments up to the next option, as in `--key 64 32`."""
    if f"--{key}" not in args:
        return []
    following = args[args.index(f"--{key}") + 1 :]
    end = next((i for i, arg in enumerate(following) if arg.startswith("--")), len(following))
    return list(following[:end])


def _quote_items(text: str) -> str:
    if not text.startswith("["):
        return json.dumps(text)
    return "[" + ", ".join(json.dumps(item.strip("\"'")) for item in re.split(r"[\s,]+", text.strip("[] "))) + "]"


def _kind(name: str) -> str:
    bare = re.sub(r"<class '([^']+)'>", r"\1", name).rpartition(".")[2].partition("[")[0]
    return {"Sequence": "a list"}.get(bare) or _KINDS.get(bare, bare)


def init_arguments(cls: Any) -> list[str]:
    """Return the names of the constructor arguments of a class and its base classes."""
    return [
        name for base in inspect.getmro(cls) if "__init__" in vars(base)
        for name in inspect.signature(vars(base)["__init__"]).parameters if name not in ("self", "args", "kwargs")
    ]  # fmt: skip


def _class_names() -> list[str]:
    bases = (LightningModule, LightningDataModule, Callback, Logger, Augmentation)
    return [cls.__name__ for base in bases for cls in _subclasses(base)]


def class_options() -> list[str]:
    """Return the options of all tasks and DataModules: `model.lr`, `data.batch_size` ..."""
    parts = (("model", Task), ("data", ArrayDataModule))
    return [f"{part}.{name}" for part, base in parts for cls in _subclasses(base) for name in init_arguments(cls)]


def _subclasses(base: type) -> list[type]:
    classes = [base]
    for cls in classes:
        classes.extend(cls.__subclasses__())
    return classes


def first_cause(error: BaseException) -> BaseException:
    """Return the error that a constructor raised, which jsonargparse wraps in its own errors."""
    while not isinstance(error, InputError):
        earlier = error.__cause__ or error.__context__
        if earlier is None:
            break
        error = earlier
    return error
