"""Checkpoints read safely: what is not one, or does not fit, is said in a line."""

import sys
from pathlib import Path
from typing import Any

from torch import nn

from litnets.checkpoint_file import check_model_part, load_verified
from litnets.errors import InputError
from litnets.runs.folder import Run


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU, its tensors left on disk until they are used.

    Raises:
        InputError: No file, or one that is no whole checkpoint.
    """
    content = load_verified(path, mmap=True)
    check_model_part(path, content)
    return dict(content)


def usable_checkpoint(run: Run, path: Path) -> Path:
    """`path`, a checkpoint of `run`, if it is whole; otherwise the newest one of the run that is, and a word about it
    on stderr.

    Raises:
        InputError: There is no such file, or none of the run's is whole.
    """
    try:
        load_checkpoint(path)
        return path
    except InputError as error:
        if not path.is_file():
            raise
        steps: dict[Path, tuple[int, int]] = {}
        for other in run.checkpoints():
            try:
                steps[other] = load_checkpoint(other)["global_step"], other.stat().st_mtime_ns
            except (InputError, KeyError):
                continue  # it is as bad
        if not steps:
            raise InputError(f"{error}; {run.folder} has no other one that is whole") from error
        newest = max(steps, key=lambda other: steps[other])
        print(f"litnets: {error}\nlitnets: {newest} is used instead (step {steps[newest][0]})", file=sys.stderr)
        return newest


def find_checkpoint(given: str | None, own: Run | None, command: str, dry: bool) -> Path | None:
    """The checkpoint to start from, if any.

    Args:
        given: `--ckpt_path`.
        own: The run whose config.yaml was given.
        command: fit, validate, test or predict.
        dry: Whether nothing real is done.

    Raises:
        InputError: There is none where one is needed, or one that a training cannot go on from.
    """
    if given in ("best", "last"):
        if own is None:
            raise InputError(f"--ckpt_path {given}: of which run? Give --config RUN/config.yaml")
        path = own.best if given == "best" else own.last
        if not path.exists():
            raise InputError(f"--ckpt_path {given}: there is no {path}")
        if command == "fit" and given == "best":
            raise _neither_old_nor_new(given, path)
        return usable_checkpoint(own, path)
    if given is not None:
        if command == "fit" and Path(given).exists():
            raise _neither_old_nor_new(given, Path(given))
        return Path(given)
    if command == "fit" or dry:
        return None
    if own is None:
        raise InputError(
            f"{command} needs a checkpoint: --config RUN/config.yaml takes that run's best one, "
            "--ckpt_path FILE any other"
        )
    if not own.best.exists():
        raise InputError(f"{own.folder} has no best.ckpt; --ckpt_path FILE takes another checkpoint")
    return own.best


def _neither_old_nor_new(given: str, path: Path) -> InputError:
    return InputError(
        f"--ckpt_path {given}: `litnets resume RUN` goes on with a run from its last checkpoint; --init_from {path} "
        "starts a new one with these weights"
    )


def check_fits(path: Path, content: dict[str, Any], model: nn.Module) -> None:
    """Raises InputError, naming the first part, if the checkpoint's weights are not those of this model."""
    found, expected = _renamed_weights(content, model), model.state_dict()
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
    own, weights = model.state_dict(), _renamed_weights(content, model)
    fitting = {n: t for n, t in weights.items() if n in own and own[n].shape == t.shape}
    if not fitting:
        raise InputError(f"--init_from {path}: no part of it fits {type(model).__name__}")
    model.load_state_dict(fitting, strict=False)
    missing = [name for name in own if name not in fitting]
    left_out = [name for name in weights if name not in fitting]
    words = f"weights from {path}"
    if missing:
        words += f"; new: {', '.join(missing)}"
    return words + (f"; left out: {', '.join(left_out)}" if left_out else "")


def _renamed_weights(content: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return a checkpoint's weights under the names that the model has for them now (see `RENAMED_STATE` of AirNet)."""
    weights = dict(content["state_dict"])
    for path, module in model.named_modules():
        for old, new in getattr(module, "RENAMED_STATE", {}).items():
            if f"{path}.{old}" in weights:
                weights[f"{path}.{new}"] = weights.pop(f"{path}.{old}")
    return weights
