"""Describe a DataModule object that was constructed in Python, so that config.yaml can name it.

Plain arguments are written as they are, so that the run can be repeated from the command line. Arrays and other objects
exist only in memory; they are described by their shape and a hash of their values.
"""

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from lightning.pytorch import LightningDataModule
from torch import Tensor
from xxhash import xxh3_128_hexdigest

from litnets.data.core.inputs import is_table, table_columns
from litnets.errors import InputError

_PLAIN = (type(None), bool, int, float, str)
_MAX_VALUES = 1000  # a list with more values is data


class RecordsArguments:
    """Mixin that records the arguments of the constructor by name, without the defaults."""

    init_arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        parameters = inspect.signature(cls.__init__).parameters
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs).arguments
        named = dict(list(bound.items())[1:])
        for name, parameter in parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                named |= named.pop(name, {})
        self.init_arguments = named
        return self


class InMemoryData(LightningDataModule):
    """Stands in config.yaml for a DataModule whose data were in memory. Constructing it is an error.

    Args:
        class_path: The class of the DataModule.
        arguments: Its arguments; those that were in memory are replaced by a shape and a hash.
        note: An explanation for the reader of config.yaml.

    Raises:
        InputError: Always, as the data are gone.
    """

    NOTE = "the data were in memory, so the run cannot be repeated from files"

    def __init__(self, class_path: str, arguments: dict[str, Any], note: str = NOTE) -> None:
        name = class_path.rpartition(".")[2]
        raise InputError(
            f"data: the {name} of this run was in memory, so the command line cannot read it; in Python, pass it: "
            f"litnets.fit(..., data) or litnets.load(run, data)"
        )


def describe_datamodule(datamodule: LightningDataModule) -> dict[str, Any]:
    """Return the `data` section of config.yaml for a DataModule object: class and arguments.

    The class is that of the object if all of its arguments are plain; otherwise it is `InMemoryData`.
    """
    arguments = _arguments_of(datamodule)
    described = {} if arguments is None else {name: _describe(value) for name, value in arguments.items()}
    if arguments is not None and not _holds_memory(described):
        return {"class_path": class_path(type(datamodule)), "init_args": described}
    init_args = {"class_path": class_path(type(datamodule)), "arguments": described}
    return {"class_path": class_path(InMemoryData), "init_args": init_args}


def is_in_memory(section: Mapping[str, Any]) -> bool:
    """Return whether a `data` section of config.yaml describes data that were in memory."""
    return section.get("class_path") == class_path(InMemoryData)


def plain_arguments(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in a description that were not in memory."""
    return {name: value for name, value in described.items() if not _holds_memory(value)}


def _arguments_of(value: Any) -> dict[str, Any] | None:
    """Return the arguments that an object was constructed with, or None if they are unknown."""
    if isinstance(value, RecordsArguments):
        return value.init_arguments
    hyperparameters = dict(getattr(value, "hparams_initial", {}))
    parameters = [name for name in inspect.signature(type(value)).parameters if name not in ("args", "kwargs")]
    return hyperparameters if set(parameters) <= hyperparameters.keys() else None


def _describe(value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)) and _count(value) <= _MAX_VALUES:
        return [_describe(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _describe(item) for key, item in value.items()}
    if isinstance(value, RecordsArguments):
        return {"class_path": class_path(type(value)), "init_args": _describe(value.init_arguments)}
    return {"in_memory": _kind(value), **_content(value)}


def _count(value: Any) -> int:
    return sum(map(_count, value)) if isinstance(value, (list, tuple)) else 1


def _content(value: Any) -> dict[str, Any]:
    """Return the shape and the hash of a value, if it has them."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if is_table(value):
        columns = table_columns(value)
        rows = len(next(iter(columns.values()), []))
        return {"shape": [rows, len(columns)], "hash": xxh3_128_hexdigest(repr(columns).encode())}
    if hasattr(value, "to_numpy"):  # a column of a DataFrame
        value = value.to_numpy()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
        content = f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
        return {"shape": list(value.shape), "hash": xxh3_128_hexdigest(content)}
    if isinstance(value, (list, tuple, np.ndarray)):
        parts = [_content(item) or repr(item) for item in value]
        return {"shape": [len(parts)], "hash": xxh3_128_hexdigest(repr(parts).encode())}
    return {}


def _kind(value: Any) -> str:
    dtype = f" of {value.dtype}" if isinstance(value, (np.ndarray, Tensor)) else ""
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__qualname__}{dtype}"


def _holds_memory(described: Any) -> bool:
    if isinstance(described, dict):
        return "in_memory" in described or any(map(_holds_memory, described.values()))
    return isinstance(described, list) and any(map(_holds_memory, described))


def class_path(cls: type) -> str:
    """Return the import path of a class, the shortest one if a package exports it.

    Raises:
        InputError: The class is defined in a function, so it has no import path.
    """
    if "<locals>" in cls.__qualname__:
        raise InputError(f"{cls.__name__} is defined in a function; define it at the top of a module or notebook")
    parts = cls.__module__.split(".")
    modules = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    exporting = next(
        (name for name in modules if getattr(sys.modules[name], cls.__name__, None) is cls), cls.__module__
    )
    return f"{exporting}.{cls.__qualname__}"
