"""Defaults that depend on other options: the name of the experiment, the monitored metric and its direction."""

from typing import Any

from jsonargparse import Namespace

from litnets.safety.resolving import import_object


def default_experiment(config: Namespace) -> str:
    """Return the name of an experiment without a configuration file: data and model, `digits_mlpclassifier`."""
    names = [str(config[part].class_path).rpartition(".")[2] for part in ("data", "model") if config.get(part)]
    return experiment_name(*names)


def experiment_name(*names: str) -> str:
    """Return the name of an experiment, given the names of its classes."""
    return "_".join(names).lower() or "run"


def default_monitor(monitor: str | None, model: Namespace | None) -> str | None:
    """Return the configured monitor, or the default of the task. Another project's LightningModule may have none."""
    return monitor or getattr(_class_of(model), "monitor", None)


def default_monitor_mode(monitor: str | None, mode: str | None, model: Namespace | None) -> str:
    """Return the configured mode, or that of the task for its default monitor; otherwise guess it from the name."""
    cls = _class_of(model)
    if mode is not None:
        return mode
    if monitor is None or monitor == getattr(cls, "monitor", None):
        return str(getattr(cls, "monitor_mode", "min"))
    larger_is_better = ("accuracy", "precision", "recall", "f1", "auroc", "r2", "iou", "dice")
    return "max" if monitor.rpartition("/")[2] in larger_is_better else "min"


def _class_of(model: Namespace | None) -> Any:
    return None if model is None else import_object(str(model.class_path), "model")
