"""Build a task from a checkpoint, without running anything that the checkpoint names."""

import inspect
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.io import TorchCheckpointIO

from litnets.checkpoint_file import check_model_part, load_stream, load_verified
from litnets.errors import InputError
from litnets.plain import load_yaml
from litnets.resolving import names_from_checkpoint, resolve_class

T = TypeVar("T", bound=LightningModule)


def load_task(
    cls: type[T],
    checkpoint_path: Any,
    map_location: Any,
    hparams_file: str | Path | None,
    strict: bool | None,
    trust: Iterable[str],
    overrides: dict[str, Any],
) -> T:
    """Build a task with the hyperparameters and weights of a checkpoint.

    See `Task.load_from_checkpoint` for the arguments. `overrides` are hyperparameters that replace the checkpoint's.
    """
    content = _read(checkpoint_path, map_location or _saved_device)
    if isinstance(content, dict) and hparams_file is not None:
        content["hyper_parameters"] = load_yaml(str(hparams_file), Path(hparams_file).read_text())
    check_model_part(checkpoint_path, content)
    hyperparameters = content.get("hyper_parameters", {}) | overrides
    names = [value for value in overrides.values() if isinstance(value, str)]
    with names_from_checkpoint(str(checkpoint_path), trust, names):
        # LightningCLI saves the class beside its arguments, and the function that should build it: it is not called.
        hyperparameters.pop("_instantiator", None)
        if (class_path := hyperparameters.pop("_class_path", None)) is not None:
            cls = resolve_class("_class_path", class_path, cls)
        model = _build(cls, checkpoint_path, hyperparameters)
    if strict is None:
        strict = model.strict_loading
    model.configure_model()
    model.on_load_checkpoint(content)
    model.load_state_dict(content["state_dict"], strict=strict)
    weights = [value for value in content["state_dict"].values() if isinstance(value, torch.Tensor)]
    return model.to(weights[0].device) if weights else model


def _read(checkpoint_path: Any, map_location: Any) -> Any:
    if not isinstance(checkpoint_path, (str, os.PathLike)):
        return load_stream(checkpoint_path, map_location)
    if "://" in str(checkpoint_path):
        return TorchCheckpointIO().load_checkpoint(str(checkpoint_path), map_location, weights_only=True)
    return load_verified(Path(checkpoint_path), mmap=False, map_location=map_location)


def _saved_device(storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage | None:
    """Leave a tensor on the device that it was saved from, or on the CPU if this machine has no such device."""
    kind = location.partition(":")[0]
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return None if kind == "cpu" or (accelerator is not None and accelerator.type == kind) else storage


def _build(cls: type[T], checkpoint_path: Any, hyperparameters: dict[str, Any]) -> T:
    # A subclass that passes fixed arguments to its base class does not take those, and they are saved all the same.
    parameters = inspect.signature(cls).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        hyperparameters = {name: value for name, value in hyperparameters.items() if name in parameters}
    try:
        return cls(**hyperparameters)
    except InputError:
        raise
    # Whatever a constructor raises on values of wrong types.
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"checkpoint {checkpoint_path} does not fit {cls.__name__}: {reason}") from error
