"""Restore the content of a checkpoint, and report content that does not fit in one line."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from numbers import Number
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from litnets.errors import InputError
from litnets.internals import CheckpointConnector
from litnets.safety.checkpoint_file import wrong_type

# What Python, Lightning and torch raise for states of wrong types or sizes.
_MISFITS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError, NotImplementedError)


@contextmanager
def report_misfit(checkpoint: Any) -> Iterator[None]:
    """Turn an error that is raised while a checkpoint is being restored into an InputError that names the checkpoint.

    Raises:
        InputError: The checkpoint could not be restored.
    """
    try:
        yield
    except (InputError, MisconfigurationException, torch.OutOfMemoryError):
        raise
    except _MISFITS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"checkpoint {checkpoint} cannot be restored: it is damaged, or does not fit this training ({reason[:300]})"
        ) from error


class CheckedConnector(CheckpointConnector):
    """Restore a checkpoint after comparing the types of all states with those of the current objects.

    Without the comparison, some states of wrong types would be accepted and make training fail later.
    """

    def restoring(self, path: str | Path | None) -> AbstractContextManager[None]:
        return report_misfit(path)

    def restore_datamodule(self) -> None:
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        state = self.content.get(type(datamodule).__qualname__)
        # The state belongs to the training data, which are not read for new samples.
        reads_training_data = self.trainer.state.fn != "predict" and getattr(datamodule, "labeled_path", None) is None
        if state is not None and reads_training_data and _is_ours(datamodule):
            self._check(type(datamodule).__qualname__, datamodule.state_dict(), state)
        super().restore_datamodule()

    def restore_callbacks(self) -> None:
        states = self.content.get("callbacks", {})
        self._check("callbacks", {}, states)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if callback.state_key in states and _is_ours(callback):
                self._check(f"callbacks[{callback.state_key!r}]", callback.state_dict(), states[callback.state_key])
        super().restore_callbacks()

    def check_training_state(self) -> None:
        if not self.content or self.trainer.state.fn != "fit":
            return
        self._check("loops", {"fit_loop": self.trainer.fit_loop.state_dict()}, self.content.get("loops"))
        self._check_optimizers(self.content.get("optimizer_states"))
        schedulers = [config.scheduler.state_dict() for config in self.trainer.lr_scheduler_configs]
        for index, (current, saved) in enumerate(zip(schedulers, self.content.get("lr_schedulers", ()), strict=False)):
            self._check(f"lr_schedulers[{index}]", current, saved)

    def _check_optimizers(self, states: Any) -> None:
        """Check the states value by value. There is nothing to compare them with before an optimizer's first step."""
        path, optimizers = self.trainer.ckpt_path, self.trainer.optimizers
        if not isinstance(states, list) or len(states) != len(optimizers):
            raise InputError(
                f"checkpoint {path} is damaged: optimizer_states should be a list of {len(optimizers)} states"
            )
        for index, (optimizer, saved) in enumerate(zip(optimizers, states, strict=True)):
            part = f"optimizer_states[{index}]"
            self._check(part, optimizer.state_dict(), saved)
            if _stages(optimizer.param_groups) != _stages(saved["param_groups"]):
                raise InputError(
                    f"checkpoint {path}: its optimizer has different parameter groups, because layer_decay or Unfreeze "
                    "was added or removed; --init_from RUN/last.ckpt starts a new run with its weights"
                )
            for key, values in saved["state"].items():
                if not isinstance(values, dict):
                    raise wrong_type(path, f"{part}['state'][{key}]", "a dict", values)
                for name, value in values.items():
                    if not isinstance(value, (Tensor, Number, list, dict, type(None))):
                        raise wrong_type(path, f"{part}['state'][{key}][{name!r}]", "a tensor or number", value)

    def _check(self, part: str, current: Any, saved: Any) -> None:
        check_like(self.trainer.ckpt_path, part, current, saved)


def check_like(checkpoint: Any, part: str, current: Any, saved: Any) -> None:
    """Check that a saved state has the same types as the current state of the object.

    Args:
        checkpoint: The checkpoint, for errors.
        part: The part of the checkpoint, for errors.
        current: The current state. None, a missing key and a missing element allow any type.
        saved: The state in the checkpoint.

    Raises:
        InputError: A type differs.
    """
    if current is None or (saved is None and not isinstance(current, (dict, list, tuple))):
        return
    if isinstance(current, Mapping):
        if not isinstance(saved, Mapping):
            raise wrong_type(checkpoint, part, "a dict", saved)
        for key in current.keys() & saved.keys():
            check_like(checkpoint, f"{part}[{key!r}]", current[key], saved[key])
    elif isinstance(current, (list, tuple)):
        if not isinstance(saved, (list, tuple)):
            raise wrong_type(checkpoint, part, "a list", saved)
        for index, value in enumerate(saved if current else ()):
            check_like(checkpoint, f"{part}[{index}]", current[min(index, len(current) - 1)], value)
    elif isinstance(current, str) and not isinstance(saved, str):
        raise wrong_type(checkpoint, part, "a string", saved)
    elif isinstance(current, (Number, Tensor)) and not isinstance(saved, (Number, Tensor)):
        raise wrong_type(checkpoint, part, "a number or tensor", saved)


def _stages(groups: list[dict[str, Any]]) -> list[Any]:
    """Return the stage of the network that each parameter group belongs to, if they are grouped by stage."""
    return [group["stage"] for group in groups if "stage" in group]


def _is_ours(part: Any) -> bool:
    """Return whether a class belongs to this package or to Lightning. Only their states keep their types."""
    return type(part).__module__.partition(".")[0] in (__name__.partition(".")[0], "lightning")
