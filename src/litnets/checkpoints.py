"""Checkpoints read safely: what is not one, or does not fit, is said in a line."""

import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from torch import nn

from litnets.errors import InputError

# What torch.load raises on files with random bytes in them.
_BROKEN = (
    RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError,
    struct.error,
)  # fmt: skip


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, its tensors left on disk until they are used, with torch's safe loading.

    Raises:
        InputError: No file, or one that is no whole checkpoint.
    """
    if not path.is_file():
        raise InputError(f"checkpoint {path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except PermissionError as error:
        raise InputError(f"checkpoint {path}: cannot be read: {error}") from error
    except _BROKEN as error:
        raise InputError(
            f"checkpoint {path}: not a checkpoint that loads safely; it is truncated, garbled, or another file"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"checkpoint {path}: a PyTorch file, but no Lightning checkpoint (it has no state_dict)")
    return content


def check_fits(path: Path, content: dict[str, Any], model: nn.Module) -> None:
    """Raises InputError, naming the first part, if the checkpoint's weights are not those of this model."""
    found, expected = content["state_dict"], model.state_dict()
    for name, tensor in expected.items():
        if name not in found:
            raise InputError(f"checkpoint {path} does not fit {type(model).__name__}: it has no {name}")
        if found[name].shape != tensor.shape:
            shapes = f"{tuple(found[name].shape)} in the checkpoint, {tuple(tensor.shape)} in the model"
            raise InputError(f"checkpoint {path} does not fit {type(model).__name__}: {name} is {shapes}")
    if extra := [name for name in found if name not in expected]:
        raise InputError(f"checkpoint {path} does not fit {type(model).__name__}, which has no {extra[0]}")
