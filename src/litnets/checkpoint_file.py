"""Read checkpoint files as data: complete, of plain values, and without running anything in them."""

import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from litnets.errors import InputError
from litnets.plain import check_plain, check_size

# What torch.load raises on files with random bytes in them.
_BROKEN = (
    RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

# What hyperparameters may hold beside numbers and texts.
_TORCH_VALUES = (Tensor, torch.dtype, torch.device)


def load_verified(path: Path, mmap: bool, map_location: Any = "cpu") -> Any:
    """Return what torch.save wrote, read with torch's safe loading.

    Args:
        path: The file.
        mmap: Whether its tensors are left on disk until they are used.
        map_location: Where its tensors go, as in torch.load.

    Raises:
        InputError: No file, one that is not complete (its bytes are compared with its checksums), or one with
            code in it.
    """
    if not path.is_file():
        raise InputError(f"checkpoint {path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        if zipfile.is_zipfile(path):  # torch compares no checksums: it would load changed weights
            _check_archive(path)
        content = torch.load(path, weights_only=True, map_location=map_location, mmap=mmap)
    except PermissionError as error:
        raise InputError(f"checkpoint {path}: cannot be read: {error}") from error
    except _BROKEN as error:
        raise _unsafe(path) from error
    check_size(f"checkpoint {path}", content)
    return content


def load_stream(file: IO[bytes], map_location: Any) -> Any:
    """Return what torch.save wrote into an open file, read with torch's safe loading.

    Raises:
        InputError: A file that is broken, or has code in it.
    """
    try:
        content = torch.load(file, weights_only=True, map_location=map_location)
    except _BROKEN as error:
        raise _unsafe(file) from error
    check_size("checkpoint", content)
    return content


def check_model_part(path: Any, content: Any) -> None:
    """Check the types of what a model is built from: `state_dict` and `hyper_parameters`.

    Args:
        path: The checkpoint, for errors.
        content: What it holds.

    Raises:
        InputError: There is no state_dict, or one of the two is not what Lightning writes.
    """
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"checkpoint {path}: a PyTorch file, but no Lightning checkpoint (it has no state_dict)")
    weights = content["state_dict"]
    if not isinstance(weights, Mapping):
        raise wrong_type(path, "state_dict", "a dict of tensors", weights)
    for name, value in weights.items():
        # A module may save anything as its extra state.
        if not isinstance(name, str) or not (isinstance(value, Tensor) or name.endswith("_extra_state")):
            raise wrong_type(path, f"state_dict[{str(name)[:100]!r}]", "a tensor", value)
    hyperparameters = content.get("hyper_parameters", {})
    if not isinstance(hyperparameters, dict) or not all(isinstance(name, str) for name in hyperparameters):
        raise wrong_type(path, "hyper_parameters", "a dict with names as keys", hyperparameters)
    check_plain(f"hyper_parameters of checkpoint {path}", hyperparameters, _TORCH_VALUES)


def wrong_type(path: Any, part: str, expected: str, value: Any) -> InputError:
    """Return the error for a part of a checkpoint that is of another type than Lightning writes."""
    return InputError(f"checkpoint {path} is damaged: {part} should be {expected}, and is a {type(value).__name__}")


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED:  # torch compresses nothing; a small file could become huge
                raise zipfile.BadZipFile(part.filename)
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(damaged)


def _unsafe(path: Any) -> InputError:
    return InputError(
        f"checkpoint {path}: not a checkpoint that loads safely; it is truncated, garbled, or another file"
    )
