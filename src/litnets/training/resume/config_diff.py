"""Compare the configuration of a resumed run with the saved one, and check that something is left to do."""

from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.print_results import count
from litnets.safety.plain import load_yaml
from litnets.safety.resolving import find_imported, import_object
from litnets.training.stop_reason import strip_signaling

# Options that concern the machine or the command, not the experiment.
_IGNORED_KEYS = {
    "config",
    "ckpt_path",
    "experiment",
    "runs_dir",
    "test_after_fit",
    "fast_loop",
    "init_from",
    "init_partial",
    "recipe",
    "record_predictions",
    "report",
    "store_data",
    "baselines",
    "stop_after_epoch",
    "keep_epochs",
    "calibrate",
}
_WITH_OTHER_STATE = {
    "model.class_path",
    "data.class_path",
    "model.init_args.optimizer",
    "model.init_args.weights",
}
SPLIT_OPTIONS = {  # of the data; they decide which samples are in which split
    "val_size",
    "test_size",
    "split_seed",
    "num_folds",
    "fold",
    "test_speaker",
    "group_by_speaker",
    "group_column",
    "group_pattern",
}
_BATCHING_KEYS = {"batch_size", "drop_last", "limit_train_batches"}  # how an epoch is split into batches
_LENGTH_LIMITS = {"trainer.max_epochs", "trainer.max_steps"}
_TRAINING_LENGTH_KEYS = {"max_epochs", "max_steps", "accumulate_grad_batches", "limit_train_batches"}


class NothingToDo(Exception):  # noqa: N818  (nothing is wrong)
    """The run is finished; the message says how to continue it."""


def diff_configs(old: Any, new: Any, key: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the differences between two configurations: (old value, new value) by dotted key.

    If a class has gained an option since the old configuration was saved, the old value is the option's default.
    Another path of the same class, such as `litnets.callbacks.EMA` for `litnets.EMA`, is not a difference.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if "class_path" in new and _is_same_class(old.get("class_path"), new["class_path"]):
            old_args, new_args = old.get("init_args") or {}, new.get("init_args") or {}
            old_args = {**_defaults_of_new_options(new["class_path"], old_args, new_args), **old_args}
            old = {**old, "class_path": new["class_path"], "init_args": old_args}
            new = {**new, "init_args": new_args}
        differences: dict[str, tuple[Any, Any]] = {}
        for name in dict.fromkeys([*old, *new]):
            if key or name not in _IGNORED_KEYS:
                differences |= diff_configs(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
        return differences
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        is_equal = not any(diff_configs(*pair, key) for pair in zip(old, new, strict=True))
    else:
        is_equal = old == new
    return {} if is_equal else {key: (old, new)}


def _is_same_class(old: Any, new: str) -> bool:
    """Whether two paths name one class. The old one comes from a checkpoint: it is looked up, without importing
    anything, and only in the packages that the class is in."""
    if old == new:
        return True
    cls = find_imported(new)
    if not isinstance(cls, type) or not isinstance(old, str):
        return False
    module, _, name = old.rpartition(".")
    return name == cls.__name__ and f"{cls.__module__}.".startswith(f"{module}.") and find_imported(old) is cls


def _defaults_of_new_options(class_path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    added = [name for name in new if name not in old]
    if not added:
        return {}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(import_object(class_path), fail_untyped=False)
    # Through YAML, like the configurations, so that a tuple becomes a list.
    defaults = load_yaml(class_path, parser.dump(parser.get_defaults(), skip_unset=False, skip_validation=True))
    return {name: defaults[name] for name in added if name in defaults}


def check_changes(changed: Mapping[str, tuple[Any, Any]], state: Mapping[str, Any]) -> None:
    """Raise InputError if the run cannot resume at the position in `state` because of a change."""
    for key, (old, new) in changed.items():
        name = key.rpartition(".")[2]
        reason = None
        if key in _WITH_OTHER_STATE:
            reason = "the saved state does not fit it"
        elif key.startswith("data.") and name in SPLIT_OPTIONS:
            reason = "training samples would leak into validation or test"
        elif state["batch"] and (name in _BATCHING_KEYS or key in ("trainer.devices", "trainer.num_nodes")):
            reason = f"the run is in the middle of an epoch (epoch {state['epoch'] + 1}, batch {state['batch'] + 1})"
        if reason:
            raise InputError(
                f"{key}: cannot resume with {new} instead of {old}: {reason}; "
                "--init_from RUN/last.ckpt starts a new run with its weights"
            )


def changes_optimization(changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Return whether the optimizer or schedule must be rebuilt. Any argument of a user's model may affect them."""
    if any(
        key.startswith("model.init_args.")
        or key.removeprefix("trainer.") in _TRAINING_LENGTH_KEYS
        or key == "data.init_args.batch_size"
        for key in changed
    ):
        return True
    old, new = changed.get("trainer.callbacks", (None, None))
    return _lr_factors(old) != _lr_factors(new)


def _lr_factors(callbacks: Any) -> list[Any]:
    """Return the learning-rate factors that callbacks set, such as those of `Unfreeze`."""
    entries = callbacks if isinstance(callbacks, list) else [callbacks]
    arguments = [entry.get("init_args") or {} for entry in entries if isinstance(entry, Mapping)]
    return [init_args["lr_factors"] for init_args in arguments if init_args.get("lr_factors")]


def changes_steps_per_epoch(changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Return whether the number of steps per epoch may have changed."""
    names = {key.rpartition(".")[2] for key in changed}
    return not names.isdisjoint(_BATCHING_KEYS | {"accumulate_grad_batches", "devices", "num_nodes"})


def stopped_early(content: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]], now: Any) -> str | None:
    """Return why early stopping ended the run; None if it did not, or if its settings have changed.

    Args:
        content: The checkpoint.
        changed: What has changed in the configuration.
        now: The arguments of early stopping, as configured now.
    """
    settings = {key for key in changed if key.startswith(("early_stopping.", "monitor", "trainer.callbacks"))}
    if settings - {"early_stopping.patience"}:
        return None
    for name, state in content.get("callbacks", {}).items():
        if not name.startswith("EarlyStopping") or not state.get("stopping_reason"):
            continue
        waited = state["wait_count"]
        if EarlyStoppingReason(state["stopping_reason"]) is not EarlyStoppingReason.PATIENCE_EXHAUSTED:
            reason = strip_signaling(state.get("stopping_reason_message"))
            return f"in epoch {state['stopped_epoch'] + 1}: {reason}"
        if waited >= now.patience:
            checks = "check" if waited == 1 else "checks"
            return f"in epoch {state['stopped_epoch'] + 1}, after {waited} {checks} without a better {now.monitor}"
    return None


def check_unfinished(
    run: Run,
    content: Mapping[str, Any],
    state: Mapping[str, Any],
    config: Any,
    stopped: str | None,
    changes: Mapping[str, tuple[Any, Any]],
) -> None:
    """Raise NothingToDo if the run has reached its configured length or was stopped early, and has been tested."""
    results = run.read_results()
    if config.test_after_fit and "test" not in results:
        return
    if results.get("steps") != content["global_step"]:
        return  # killed between the last save and the results, which are missing or those of a shorter training
    end = _end_of_training(content, state, config, stopped)
    if end is not None:
        unused = [f"{key}: {old} -> {new}" for key, (old, new) in changes.items() if key not in _LENGTH_LIMITS]
        note = "" if not unused else f"\nnot applied, because nothing is left to train: {', '.join(unused)}"
        raise NothingToDo(f"{run.folder} {end}{note}")


def _end_of_training(
    content: Mapping[str, Any], state: Mapping[str, Any], config: Any, stopped: str | None
) -> str | None:
    """Return why nothing is left to train, and how to train longer; None if training can continue."""
    epochs, steps, last_epoch = config.trainer.max_epochs, config.trainer.max_steps, config.stop_after_epoch
    if epochs is not None and 0 <= epochs <= state["epoch"]:
        return f"is finished: {state['epoch']} of {count(epochs, 'epoch')}; train longer with --trainer.max_epochs N"
    if steps is not None and 0 <= steps <= content["global_step"]:
        return (
            f"is finished: {content['global_step']} of {count(steps, 'step')}; train longer with --trainer.max_steps N"
        )
    if last_epoch is not None and last_epoch <= state["epoch"]:
        return f"has stopped after epoch {state['epoch']}; to continue, give --stop_after_epoch null or a later epoch"
    if stopped is not None:
        return f"stopped early {stopped}; to continue, change a setting, such as --early_stopping.patience N"
    return None
