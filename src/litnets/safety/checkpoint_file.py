"""Read checkpoints as data: check that they are complete and hold only plain values, and run nothing in them."""

import inspect
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from litnets.errors import InputError
from litnets.safety.plain import check_plain, check_size
from litnets.safety.resolving import names_from_checkpoint, resolve_class

T = TypeVar("T")

# What torch.load raises for damaged files.
_BROKEN = (
    RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

# What a constructor raises for values of wrong types or sizes.
_REJECTED = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RuntimeError, MemoryError)

_weights_follow: ContextVar[bool] = ContextVar("weights_follow", default=False)

# What hyperparameters may hold besides numbers and strings.
_TORCH_VALUES = (Tensor, torch.dtype, torch.device)


def load_verified(path: Path, mmap: bool, map_location: Any = "cpu") -> Any:
    """Read a file written by torch.save, with torch's safe loading, and return its content.

    Args:
        path: The file.
        mmap: Whether to leave its tensors on disk until they are used.
        map_location: Where to put its tensors, as in torch.load.

    Raises:
        InputError: The file does not exist, is damaged (its bytes do not match its checksums), or contains code.
    """
    if not path.is_file():
        raise InputError(f"checkpoint {path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        if zipfile.is_zipfile(path):  # torch does not verify the checksums and would load damaged weights
            _check_archive(path)
        content = torch.load(path, weights_only=True, map_location=map_location, mmap=mmap)
    except PermissionError as error:
        raise InputError(f"checkpoint {path}: cannot be read: {error}") from error
    except _BROKEN as error:
        raise _unsafe(path) from error
    check_size(f"checkpoint {path}", content)
    return content


def read_checkpoint(source: Any, map_location: Any = None) -> Any:
    """Read a checkpoint with torch's safe loading, and return its content.

    Args:
        source: A path, a URL or an open file.
        map_location: Where to put its tensors, as in torch.load; by default on the device that they were saved from.

    Raises:
        InputError: The file is damaged or contains code.
    """
    map_location = map_location or _saved_device
    if isinstance(source, (str, os.PathLike)) and "://" not in str(source):
        return load_verified(Path(source), mmap=False, map_location=map_location)
    try:
        if isinstance(source, (str, os.PathLike)):
            # Here, because networks, which import this module for pretrained weights, need no Lightning.
            from lightning.pytorch.plugins.io import TorchCheckpointIO

            content: Any = TorchCheckpointIO().load_checkpoint(str(source), map_location, weights_only=True)
        else:
            content = torch.load(source, weights_only=True, map_location=map_location)
    except _BROKEN as error:
        raise _unsafe(source) from error
    check_size(f"checkpoint {source}", content)
    return content


@contextmanager
def weights_follow() -> Iterator[None]:
    """Build networks in this block that will get the weights of a checkpoint, so they need no pretrained weights."""
    token = _weights_follow.set(True)
    try:
        yield
    finally:
        _weights_follow.reset(token)


def do_weights_follow() -> bool:
    """Return whether the network that is being built will get the weights of a checkpoint."""
    return _weights_follow.get()


def build_from_checkpoint(
    cls: type[T], source: Any, hyperparameters: Any, overrides: Mapping[str, Any], trust: Iterable[str] = ()
) -> T:
    """Construct a class with the hyperparameters of a checkpoint, which may name only classes allowed in checkpoints.

    Args:
        cls: The class, or a base class of the class that LightningCLI saved with the hyperparameters.
        source: The checkpoint, for errors.
        hyperparameters: The hyperparameters in the checkpoint.
        overrides: Hyperparameters of the caller, which replace those of the checkpoint.
        trust: Further modules whose classes the checkpoint may name.

    Raises:
        InputError: The hyperparameters are not plain values, name a class that is not allowed, or do not fit the class.
    """
    check_hyperparameters(source, hyperparameters)
    arguments = {**hyperparameters, **overrides}
    names = [value for value in overrides.values() if isinstance(value, str)]
    with names_from_checkpoint(str(source), trust, names), weights_follow():
        arguments.pop("_instantiator", None)  # a function with which LightningCLI constructs classes; never called here
        if (class_path := arguments.pop("_class_path", None)) is not None:
            cls = resolve_class("_class_path", class_path, cls)
        # Lightning also saves fixed arguments that a subclass passes to its base class but does not accept itself.
        parameters = inspect.signature(cls).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            arguments = {name: value for name, value in arguments.items() if name in parameters}
        try:
            return cls(**arguments)
        except InputError:
            raise
        except _REJECTED as error:
            reason = " ".join(str(error).split())
            raise InputError(f"checkpoint {source} does not fit {cls.__name__}: {reason}") from error


def load_model(
    cls: type[T],
    source: Any,
    content: Any,
    overrides: Mapping[str, Any],
    trust: Iterable[str] = (),
    strict: bool | None = None,
) -> T:
    """Construct a LightningModule with the hyperparameters of a checkpoint, and load its weights.

    Args:
        cls: The class.
        source: The checkpoint, for errors.
        content: What it holds.
        overrides: Hyperparameters of the caller, which replace those of the checkpoint.
        trust: Modules that the checkpoint may name.
        strict: Whether the names of all weights must match; None for the model's default.

    Raises:
        InputError: The content is not what Lightning writes, or does not fit the class.
    """
    check_model_part(source, content)
    model: Any = build_from_checkpoint(cls, source, content.get("hyper_parameters", {}), overrides, trust)
    model.configure_model()
    model.on_load_checkpoint(content)
    model.load_state_dict(content["state_dict"], strict=model.strict_loading if strict is None else strict)
    return cast(T, model)


def refuse_unsafe_loading(weights_only: bool | None) -> None:
    """Raise InputError if Lightning's argument `weights_only` asks for loading that can run code in the file."""
    if weights_only is False:
        raise InputError(
            "weights_only=False would let the checkpoint run any code; leave it out, because checkpoints of litnets "
            "load without it. If you trust the file, read it with torch.load(path, weights_only=False)"
        )


def check_model_part(path: Any, content: Any) -> None:
    """Check the types of the parts that a model is built from: `state_dict` and `hyper_parameters`.

    Args:
        path: The checkpoint, for errors.
        content: Its content.

    Raises:
        InputError: There is no state_dict, or one of the two is not what Lightning writes.
    """
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"checkpoint {path}: a PyTorch file, but not a Lightning checkpoint (it has no state_dict)")
    weights = content["state_dict"]
    if not isinstance(weights, Mapping):
        raise wrong_type(path, "state_dict", "a dict of tensors", weights)
    for name, value in weights.items():
        # A module may save anything as its extra state.
        if not isinstance(name, str) or not (isinstance(value, Tensor) or name.endswith("_extra_state")):
            raise wrong_type(path, f"state_dict[{str(name)[:100]!r}]", "a tensor", value)
    check_hyperparameters(path, content.get("hyper_parameters", {}))


def check_hyperparameters(path: Any, hyperparameters: Any) -> None:
    """Raise InputError unless the hyperparameters of a checkpoint are a dict of plain values by name."""
    if not isinstance(hyperparameters, dict) or not all(isinstance(name, str) for name in hyperparameters):
        raise wrong_type(path, "hyper_parameters", "a dict with names as keys", hyperparameters)
    check_plain(f"hyper_parameters of checkpoint {path}", hyperparameters, _TORCH_VALUES)


def wrong_type(path: Any, part: str, expected: str, value: Any) -> InputError:
    """Return the error for a part of a checkpoint whose type is not the one that Lightning writes."""
    return InputError(f"checkpoint {path} is damaged: {part} should be {expected}, got {type(value).__name__}")


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED:  # torch compresses nothing; a small file could become huge
                raise zipfile.BadZipFile(part.filename)
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(damaged)


def _unsafe(path: Any) -> InputError:
    return InputError(
        f"checkpoint {path}: not a checkpoint that loads safely; it is truncated, damaged, or another kind of file"
    )


def _saved_device(storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage | None:
    """Leave a tensor on the device that it was saved from, or on the CPU if this machine has no such device."""
    kind = location.partition(":")[0]
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return None if kind == "cpu" or (accelerator is not None and accelerator.type == kind) else storage
