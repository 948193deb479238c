"""Find the checkpoint that a command needs, and check that it is complete and fits the model."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.safety.checkpoint_file import check_model_part, load_verified, wrong_type
from litnets.safety.escaping import printable
from litnets.training.checkpoints.restoring import report_misfit
from litnets.training.resume import loop_state


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, on the CPU. Its tensors stay on disk until they are used.

    Raises:
        InputError: The file does not exist or is damaged, or a part of it has the wrong type.
    """
    content = load_verified(path, mmap=True)
    check_model_part(path, content)
    _check_training_part(path, content)
    return dict(content)


def _check_training_part(path: Path, content: Mapping[str, Any]) -> None:
    """Check the types of the parts that commands read before there is a Trainer. `restoring` checks the other parts."""
    for name in ("epoch", "global_step"):
        if name in content:
            _check_count(path, name, content[name])
    callbacks = content.get("callbacks", {})
    if not isinstance(callbacks, dict):
        raise wrong_type(path, "callbacks", "a dict", callbacks)
    for name, state in callbacks.items():
        if str(name).startswith("EarlyStopping"):
            _check_early_stopping(path, state)
    schedulers = content.get("lr_schedulers", [])
    if not isinstance(schedulers, list) or not all(isinstance(state, dict) for state in schedulers):
        raise wrong_type(path, "lr_schedulers", "a list of dicts", schedulers)
    if (state := loop_state.find_loop_state(content)) is not None:
        _check_loop_state(path, state)


def _check_early_stopping(path: Path, state: Any) -> None:
    if not isinstance(state, dict):
        raise wrong_type(path, "the state of EarlyStopping", "a dict", state)
    for name in ("wait_count", "stopped_epoch"):
        _check_count(path, f"{name} of EarlyStopping", state.get(name))
    reason = state.get("stopping_reason")
    if reason and reason not in [known.value for known in EarlyStoppingReason]:
        raise wrong_type(path, "stopping_reason of EarlyStopping", "one of Lightning's reasons", reason)
    if not isinstance(message := state.get("stopping_reason_message"), (str, type(None))):
        raise wrong_type(path, "stopping_reason_message of EarlyStopping", "a text", message)


def _check_loop_state(path: Path, state: Any) -> None:
    """Check what `loop_state.save_loop_state` has written."""
    if not isinstance(state, dict):
        raise wrong_type(path, loop_state.KEY, "a dict", state)
    for name in ("epoch", "batch", "logged_step"):
        _check_count(path, f"{loop_state.KEY}[{name!r}]", state.get(name))
    for name, kind, expected in (("config", str, "a text"), ("ranks", list, "a list"), ("csv", dict, "a dict")):
        if not isinstance(value := state.get(name), kind):
            raise wrong_type(path, f"{loop_state.KEY}[{name!r}]", expected, value)
    metrics = state.get("callback_metrics")
    if not isinstance(metrics, dict) or not all(isinstance(value, Tensor) for value in metrics.values()):
        raise wrong_type(path, f"{loop_state.KEY}['callback_metrics']", "a dict of tensors", metrics)


def _check_count(path: Path, name: str, value: Any) -> None:
    if type(value) is not int or not 0 <= value < 2**63:
        raise wrong_type(path, name, "a whole number of at least 0", value)


def usable_checkpoint(run: Run, path: Path) -> Path:
    """Return `path`, a checkpoint of a run, if it is complete; otherwise the newest complete one, with a warning.

    Raises:
        InputError: There is no such file, or no checkpoint of the run is complete.
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
                continue  # incomplete as well
        if not steps:
            raise InputError(f"{error}; {run.folder} has no other complete checkpoint") from error
        newest = max(steps, key=lambda other: steps[other])
        message = f"litnets: {error}\nlitnets: {newest} is used instead (step {steps[newest][0]})"
        rank_zero_only(print)(printable(message, lines=True), file=sys.stderr)
        return newest


def find_checkpoint(ckpt_path: str | None, config_run: Run | None, command: str, is_dry_run: bool) -> Path | None:
    """Return the checkpoint that a command starts from, if any.

    Args:
        ckpt_path: `--ckpt_path`: a file, `best`, `last` or None.
        config_run: The run whose config.yaml was passed as `--config`.
        command: fit, validate, test or predict.
        is_dry_run: Whether the command writes nothing.

    Raises:
        InputError: The command needs a checkpoint and there is none, or `fit` was called with one.
    """
    if ckpt_path in ("best", "last"):
        if config_run is None:
            raise InputError(f"--ckpt_path {ckpt_path}: of which run? Give --config RUN/config.yaml")
        path = config_run.best if ckpt_path == "best" else config_run.last
        if not path.exists():
            raise InputError(f"--ckpt_path {ckpt_path}: there is no {path}")
        if command == "fit" and ckpt_path == "best":
            raise _neither_resumed_nor_new(ckpt_path, path)
        return usable_checkpoint(config_run, path)
    if ckpt_path is not None:
        if command == "fit" and Path(ckpt_path).exists():
            raise _neither_resumed_nor_new(ckpt_path, Path(ckpt_path))
        return Path(ckpt_path)
    if command == "fit" or is_dry_run:
        return None
    if config_run is None:
        raise InputError(
            f"{command} needs a checkpoint: `litnets {command} RUN` uses the run's best one, --ckpt_path FILE any other"
        )
    if not config_run.best.exists():
        raise InputError(f"{config_run.folder} has no best.ckpt; --ckpt_path FILE takes another checkpoint")
    return config_run.best


def _neither_resumed_nor_new(ckpt_path: str, path: Path) -> InputError:
    return InputError(
        f"--ckpt_path {ckpt_path}: `litnets resume RUN` resumes a run from its last checkpoint; --init_from {path} "
        "starts a new one with these weights"
    )


def check_fits(path: Path, content: Mapping[str, Any], model: nn.Module) -> None:
    """Check that a checkpoint holds the weights of this model.

    Raises:
        InputError: It holds other weights; the message names the first difference.
    """
    saved, expected = _renamed_weights(content, model), model.state_dict()
    for name, tensor in expected.items():
        if name not in saved:
            raise InputError(f"checkpoint {path} does not fit {type(model).__name__}: it has no {name}")
        if _shape(saved[name]) != _shape(tensor):
            shapes = f"{_shape(saved[name])} in the checkpoint, {_shape(tensor)} in the model"
            raise InputError(f"checkpoint {path} does not fit {type(model).__name__}: {name} is {shapes}")
    if extra := [name for name in saved if name not in expected]:
        raise InputError(f"checkpoint {path} does not fit {type(model).__name__}, which has no {extra[0]}")


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None  # a module's extra state may be anything


def load_weights(path: Path, model: nn.Module, partial: bool) -> str:
    """Load a checkpoint's weights into the model of a new run, and return one line that describes what was loaded.

    Args:
        path: The checkpoint.
        model: The model.
        partial: Whether to skip parts that do not fit; otherwise they are an error.

    Raises:
        InputError: There is no such checkpoint, or it does not fit.
    """
    content = load_checkpoint(path)
    if not partial:
        try:
            check_fits(path, content, model)
        except InputError as error:
            run = Run.from_checkpoint(path)
            hint = "" if run is None else f"; `--config {run.configs[-1]}` builds the network of that run"
            raise InputError(f"{error}{hint}") from error
    weights, saved = model.state_dict(), _renamed_weights(content, model)
    fitting = {n: value for n, value in saved.items() if n in weights and _shape(value) == _shape(weights[n])}
    if not fitting:
        raise InputError(f"--init_from {path}: no part of it fits {type(model).__name__}")
    with report_misfit(path):
        model.load_state_dict(fitting, strict=False)
    missing = [name for name in weights if name not in fitting]
    left_out = [name for name in saved if name not in fitting]
    report = f"weights from {path}"
    if missing:
        report += f"; new: {', '.join(missing)}"
    return report + (f"; left out: {', '.join(left_out)}" if left_out else "")


def _renamed_weights(content: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return a checkpoint's weights under the names that the model has for them now (see `RENAMED_STATE` of AirNet)."""
    weights = dict(content["state_dict"])
    for path, module in model.named_modules():
        for old, new in getattr(module, "RENAMED_STATE", {}).items():
            if f"{path}.{old}" in weights:
                weights[f"{path}.{new}"] = weights.pop(f"{path}.{old}")
    return weights
