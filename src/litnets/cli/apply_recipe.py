"""Apply the default recipe to a new run: read the data, then set the options that the user has not set."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import LightningDataModule

from litnets.cli import recipe
from litnets.cli.advice import class_imbalance
from litnets.cli.defaults import default_monitor, default_monitor_mode
from litnets.cli.recipe import Facts, Inputs, Network
from litnets.cli.resolve_run import ResolvedRun, config_paths
from litnets.data.core.base import ArrayDataModule
from litnets.data.images.augment import Augmentation
from litnets.data.tables.base import TableDataModule
from litnets.data.text.base import TextDataModule
from litnets.runs.folder import Run
from litnets.runs.storage import read_text
from litnets.safety.plain import load_yaml
from litnets.safety.resolving import import_object
from litnets.tasks import Forecaster, Task

_NETWORKS: dict[str, Network] = {
    "WithLinear": "linear",
    "WithMLP": "mlp",
    "WithCNN": "cnn",
    "WithResNet": "resnet",
    "WithRNN": "rnn",
    "WithCNN1d": "cnn1d",
    "WithTransformer": "transformer",
    "WithUNet": "unet",
    "WithTorchvisionUNet": "unet",
}
# The options of the data that the recipe chooses. A DataModule that is built in Python keeps its own values.
DATA_OPTIONS = ("batch_size", "augment", "token_dropout", "tokens", "lowercase", "normalize_skewed")
# If the user has set an option, the recipe also leaves these others alone.
_DEPENDENT = {
    "model.optimizer": ("model.lr", "model.weight_decay"),
    "model.optimizer_args": ("model.lr", "model.weight_decay"),
    "model.lr_scheduler_args": ("model.lr_scheduler",),
    "model.loss": ("model.label_smoothing",),
    "model.weights": ("model.lr", "model.weight_decay"),  # the recipe's rates are for random weights
    "model.init": ("model.embedding_scale",),
    "monitor_mode": ("monitor",),
}


def options_set_by_user(parser: ArgumentParser, args: list[str]) -> set[str]:
    """Return the options that the command line and its configurations set, such as `model.lr`.

    Args:
        parser: The parser of all commands.
        args: The arguments of the command line.
    """
    command, *rest = args
    # The links need these two options. Null is their default, so null does not count as set.
    options = parser.parse_args([command, "--monitor=null", "--monitor_mode=null", *rest], defaults=False)[command]
    names = {name.replace(".init_args", "") for name in options.keys()}  # noqa: SIM118  (nested keys)
    return {name for name in names if name not in ("monitor", "monitor_mode") or options[name] is not None}


def uses_recipe(command: str, options: Namespace, resolved: ResolvedRun) -> bool:
    """Return whether the recipe chooses options: only for a new run from scratch.

    The recipe is not used for the configuration of an earlier run, which repeats that run, or with `overfit_batches`,
    where regularization would be in the way.
    """
    if command != "fit" or not options.recipe or not options.get("data"):
        return False
    is_new = resolved.run is None and resolved.checkpoint is None and resolved.init_from is None
    is_repeated = any(Run.from_config(path) is not None for path in config_paths(options))
    return is_new and not is_repeated and not options.trainer.overfit_batches


def build_datamodule(spec: Namespace) -> LightningDataModule:
    """Instantiate the DataModule that the options describe."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    options = Namespace(data=spec)  # type: ignore[no-untyped-call]
    datamodule: LightningDataModule = parser.instantiate_classes(options).data
    return datamodule


def apply_recipe(
    options: Namespace, set_by_user: Collection[str], datamodule: LightningDataModule | None
) -> tuple[LightningDataModule, list[str]]:
    """Set what the recipe chooses.

    Args:
        options: The options of `fit`, which are changed in place.
        set_by_user: Options that keep their value.
        datamodule: The DataModule if it was built in Python, whose options are kept; None builds it from `options`.

    Returns:
        The DataModule, after reading its data, and lines that tell the user what was chosen.
    """
    if datamodule is None:
        datamodule = build_datamodule(options.data)
    else:
        set_by_user = {*set_by_user, *(f"data.{name}" for name in DATA_OPTIONS)}
    return datamodule, choose_options(options, set_by_user, datamodule)


def choose_options(options: Namespace, set_by_user: Collection[str], datamodule: LightningDataModule) -> list[str]:
    """Set what the recipe chooses, in the options and in the DataModule. This reads the data.

    Args:
        options: The options of `fit`, which are changed in place.
        set_by_user: Options that keep their value.
        datamodule: The data.

    Returns:
        Lines that tell the user what was chosen.
    """
    model_class = import_object(options.model.class_path, "model")
    if not isinstance(datamodule, ArrayDataModule) or not issubclass(model_class, Task):
        return []
    fixed = {*set_by_user, *(name for user_option in set_by_user for name in _DEPENDENT.get(user_option, ()))}
    chosen = _choose_encoding(options, fixed, datamodule)
    datamodule.ensure_setup()
    facts = facts_of(model_class, datamodule)
    batch = datamodule.batch_size if "data.batch_size" in fixed else recipe.batch_size(facts)
    steps = _steps_per_epoch(options.trainer, facts.samples, batch)
    epochs = _num_epochs(options.trainer, "trainer.max_epochs" in fixed, facts, steps)
    if epochs < 0:  # training without an end has no schedule
        fixed |= {"model.lr_scheduler", "early_stopping.patience"}
    chosen |= _set_options(options, recipe.choose(facts, batch, epochs), fixed, datamodule)
    _link_monitor(options)
    lines = [_summary(chosen, epochs, steps)]
    if "model.class_weights" not in fixed and (imbalance := class_imbalance(datamodule)):
        lines.append(imbalance)
    return lines


def _choose_encoding(options: Namespace, fixed: Collection[str], datamodule: ArrayDataModule) -> dict[str, Any]:
    """Set how texts and tables are encoded, which has to be done before they are read. Return what was chosen."""
    if isinstance(datamodule, TableDataModule):
        return _set_options(options, recipe.table_encoding(datamodule.num_classes is not None), fixed, datamodule)
    if not isinstance(datamodule, TextDataModule) or {"data.tokens", "data.lowercase"} <= set(fixed):
        return {}
    datamodule.prepare_data()
    choices = recipe.tokenization(datamodule.training_texts())
    if "data.tokens" in fixed and datamodule.tokens != choices["data.tokens"]:
        return {}  # the recipe's choices are for its tokens, not for those of the user
    return _set_options(options, choices, fixed, datamodule)


def _num_epochs(trainer: Namespace, is_set_by_user: bool, facts: Facts, steps_per_epoch: int) -> int:
    """Return the number of epochs, or a negative number if training has no end.

    Args:
        trainer: The options of the Trainer.
        is_set_by_user: Whether the user has set `max_epochs`.
        facts: What is known before training.
        steps_per_epoch: Optimizer steps in an epoch.
    """
    max_epochs: int = trainer.max_epochs
    max_steps: int = trainer.max_steps
    if max_steps >= 0 and (not is_set_by_user or max_epochs < 0):
        return math.ceil(max_steps / steps_per_epoch)
    return max_epochs if is_set_by_user else recipe.epochs(facts, steps_per_epoch)


def repeat_choices_of_requeued_run(options: Namespace, parser: ArgumentParser, args: list[str]) -> None:
    """Repeat what the recipe chose for this run before its job was requeued with the same command."""
    requeued = Run.requeued(Path(options.runs_dir), options.experiment)
    if requeued is not None and requeued.config.exists() and options.recipe:
        saved = load_yaml(str(requeued.config), read_text(requeued.config))
        repeat_choices(options, options_set_by_user(parser, args), saved)


def repeat_choices(options: Namespace, set_by_user: Collection[str], saved: dict[str, Any]) -> None:
    """Set what the recipe chose for a run that the same command now restarts.

    Args:
        options: The options of `fit`, which are changed in place.
        set_by_user: Options that keep their value.
        saved: The configuration in the run folder.
    """
    for group in ("model", "data"):
        spec = saved.get(group) or {}
        for name, value in (spec.get("init_args") or {}).items():
            if f"{group}.{name}" not in set_by_user:
                is_augment = name == "augment" and value
                options[group].init_args[name] = _build_augmentations(value)[0] if is_augment else value
    for group, name in (("trainer", "max_epochs"), ("trainer", "gradient_clip_val"), ("early_stopping", "patience")):
        if f"{group}.{name}" not in set_by_user:
            options[group][name] = saved[group][name]
    if "monitor" not in set_by_user:
        options.monitor = saved["monitor"]
    _link_monitor(options)


def facts_of(model_class: type[Task], datamodule: ArrayDataModule) -> Facts:
    """Return what is known before training, from the class of the model and the data. Read the data if necessary."""
    datamodule.ensure_setup()
    network = model_class.network()
    shape = datamodule.input_shape
    inputs: Inputs = "rows"
    if issubclass(model_class, Forecaster):
        inputs = "windows"
    elif getattr(datamodule, "vocab_size", None) is not None:
        inputs = "tokens"
    elif len(shape) > 1:
        inputs = "images" if len(shape) == 3 else "sequences"
    sides = [side for side in shape[1:] if side is not None]
    return Facts(
        network="other" if network is None else _NETWORKS.get(network.__name__, "other"),
        inputs=inputs,
        samples=len(datamodule.splits["train"]),
        has_classes=datamodule.num_classes is not None,
        is_multilabel=bool(getattr(datamodule, "multilabel", False)),
        image_side=min(sides, default=0) if inputs == "images" else 0,
        is_photo=inputs == "images" and shape[0] == 3,
        has_masks=getattr(datamodule, "ignore_index", None) is not None,
    )


def _steps_per_epoch(trainer: Namespace, samples: int, batch: int) -> int:
    """Return the number of optimizer steps in an epoch, given the options of the Trainer."""
    devices = str(trainer.devices)  # a list, `auto` or -1 is counted as one device, because the number is not known yet
    processes = max(1, trainer.num_nodes * (int(devices) if devices.isdigit() else 1))
    batches: int = math.ceil(samples / batch / processes)
    limit: int | float | None = trainer.limit_train_batches
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else max(1, int(batches * limit))
    accumulated: int = trainer.accumulate_grad_batches
    return math.ceil(batches / accumulated)


def _link_monitor(options: Namespace) -> None:
    """Pass the monitor to the callbacks, as the links do when the options are parsed."""
    for callback in (options.checkpoint, options.early_stopping):
        callback.monitor = default_monitor(options.monitor, options.model)
        callback.mode = default_monitor_mode(options.monitor, options.monitor_mode, options.model)


def _set_options(
    options: Namespace, choices: dict[str, Any], fixed: Collection[str], datamodule: ArrayDataModule
) -> dict[str, Any]:
    """Set the choices that are not in `fixed` and that the classes have as options. Return them."""
    chosen = {}
    for name, value in choices.items():
        if name in fixed or not _has(options, name):
            continue
        group, _, option = name.rpartition(".")
        target = _group(options, group)
        chosen[name] = target[option] = value
        if name == "data.augment":
            target.augment, value = _build_augmentations(value)
        if group == "data":
            setattr(datamodule, option, value)
    return chosen


def _group(options: Namespace, group: str) -> Namespace:
    """Return the options of a group: those of the class, of a callback, or of the command."""
    if group in ("model", "data"):
        arguments: Namespace = options[group].get("init_args") or Namespace()  # type: ignore[no-untyped-call]
        return arguments
    return options[group] if group else options


def _has(options: Namespace, name: str) -> bool:
    group, _, option = name.rpartition(".")
    return option in _group(options, group)


def _build_augmentations(specs: list[dict[str, Any]]) -> tuple[list[Namespace], list[Augmentation]]:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--augment", type=list[Augmentation])
    parsed = parser.parse_object({"augment": specs})
    return parsed.augment, parser.instantiate_classes(parsed).augment


def _summary(chosen: dict[str, Any], epochs: int, steps: int) -> str:
    """Return the line that lists what was chosen."""
    parts = []
    for name, value in chosen.items():
        if name == "trainer.max_epochs":
            continue
        shown = f"{value:g}" if isinstance(value, float) else value
        if name == "data.augment":
            shown = ", ".join(f"{spec['class_path']}" for spec in value)
        parts.append(f"{name.rpartition('.')[2]} {shown}")
    length = "unlimited epochs" if epochs < 0 else f"{epochs} epochs of {steps} steps"
    return f"recipe: {length}; {', '.join(parts)} (--recipe false turns it off)"
