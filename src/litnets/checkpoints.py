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


def load_weights(path: Path, model: nn.Module, partial: bool) -> str:
    """Take over a checkpoint's weights, to start a new training with; a line that says what was taken.

    Args:
        path: The checkpoint.
        model: The model.
        partial: Whether parts that do not fit are left out; otherwise they are refused.

    Raises:
        InputError: No checkpoint, or one that does not fit.
    """
    content = load_checkpoint(path)
    if not partial:
        check_fits(path, content, model)
    own = model.state_dict()
    fitting = {n: t for n, t in content["state_dict"].items() if n in own and own[n].shape == t.shape}
    if not fitting:
        raise InputError(f"--init_from {path}: no part of it fits {type(model).__name__}")
    model.load_state_dict(fitting, strict=False)
    missing = [name for name in own if name not in fitting]
    left_out = [name for name in content["state_dict"] if name not in fitting]
    words = f"weights from {path}"
    if missing:
        words += f"; new: {', '.join(missing)}"
    return words + (f"; left out: {', '.join(left_out)}" if left_out else "")
