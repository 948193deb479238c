"""Checks before a command starts: the monitored metric, the saved hyperparameters, and samples in the split."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule

from litnets.data.core.base import ArrayDataModule
from litnets.errors import InputError
from litnets.tasks import Task
from litnets.tasks.input_shapes import wrong_targets
from litnets.training.resume.plan import ResumePlan


def check_before_start(
    command: str,
    model: LightningModule,
    datamodule: LightningDataModule | None,
    monitor: str | None,
    trainer_config: Mapping[str, Any],
    resume: ResumePlan | None,
) -> None:
    """Check what would otherwise fail only after the first epoch, or leave nothing to evaluate.

    Args:
        command: fit, validate, test or predict.
        model: The model.
        datamodule: The data; set up if a run is resumed or evaluated.
        monitor: The metric that selects the best epoch.
        trainer_config: The arguments of the Trainer in the configuration.
        resume: What a resumed run continues from; None if no run is resumed.

    Raises:
        InputError: A check has failed.
    """
    check_targets(model, datamodule)
    if command == "fit":
        check_saved_arguments(model, datamodule)
        limits = trainer_config["limit_train_batches"], trainer_config["limit_val_batches"]
        check_monitor(model, datamodule, monitor, *limits)
    else:
        check_split(datamodule, "val" if command == "validate" else "test")
    if isinstance(datamodule, ArrayDataModule) and resume is not None:
        check_training_split(datamodule, resume)


def check_targets(model: LightningModule, datamodule: LightningDataModule | None) -> None:
    """Check that the model predicts masks if the targets are masks, whose classes would fit a Classifier as well.

    Raises:
        InputError: It predicts something else.
    """
    has_masks = getattr(datamodule, "ignore_index", None) is not None
    if has_masks and isinstance(datamodule, ArrayDataModule) and isinstance(model, Task) and model.predicts != "masks":
        raise wrong_targets(type(model), datamodule.input_shape, "masks")


def check_output(path: Path | None, overwrite: bool) -> None:
    """Check that predictions can be written and replace no file that the user wants to keep.

    Raises:
        InputError: The file exists, or its folder does not.
    """
    if path is None:
        return
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else "is in no existing folder"
        raise InputError(f"--output {path} {problem}; expected a file such as predictions.csv")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; --overwrite replaces it, --output FILE writes another file")


def check_mask_folder(table: Path, overwrite: bool) -> None:
    """Check that masks can be written next to `table`, and replace no masks that the user wants to keep.

    Raises:
        InputError: The folder of the masks is a file, or it is not empty.
    """
    folder = table.with_suffix("")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}, the folder of the masks, is a file; --output sets another folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(
            f"{folder} is not empty; --overwrite replaces masks in it, --output FOLDER writes another folder"
        )


def check_predict_path(command: str, args: Sequence[str]) -> None:
    """Check that `test` and `validate` do not get `--data.predict_path`, which they would ignore.

    Raises:
        InputError: One of them gets it.
    """
    names = {arg.partition("=")[0].replace(".init_args.", ".") for arg in args}
    if command in ("test", "validate") and "--data.predict_path" in names:
        raise InputError(
            f"--data.predict_path is not used by {command}; labeled data are tested with `litnets test RUN --on NEW`, "
            "others predicted with `litnets predict RUN NEW`"
        )


def check_monitor(
    model: LightningModule,
    datamodule: LightningDataModule | None,
    monitor: str | None,
    limit_train_batches: Any,
    limit_val_batches: Any,
) -> None:
    """Check that training will log `monitor`.

    Raises:
        InputError: `monitor` will not be logged, or nothing would be trained.
    """
    if isinstance(model, Task):
        model.check_monitor(str(monitor))
    elif monitor is None:
        raise InputError(f"{type(model).__name__} names no metric to monitor; give --monitor NAME")
    if limit_train_batches == 0:
        raise InputError("trainer.limit_train_batches: expected more than 0: nothing would be trained")
    if not str(monitor).startswith("val/"):
        return
    if limit_val_batches == 0:
        raise InputError(
            f"trainer.limit_val_batches: nothing is validated, but {monitor} selects the best epoch; give "
            "--monitor train/loss"
        )
    if _is_empty(datamodule, "val"):
        raise InputError(
            f"the validation split is empty, but {monitor} selects the best epoch; set --data.val_size to a "
            "fraction such as 0.2, or add data"
        )


def check_saved_arguments(*parts: Any) -> None:
    """Check the arguments that `save_hyperparameters` keeps in checkpoints.

    Raises:
        InputError: One of them is not a plain value, so that no checkpoint could be loaded safely.
    """
    for part in parts:
        hyperparameters = dict(getattr(part, "hparams_initial", {}))
        if _loads_safely(hyperparameters):
            continue
        for name, value in hyperparameters.items():
            if not _loads_safely(value):
                raise InputError(
                    f"{type(part).__name__}: its hyperparameter '{name}' is a {type(value).__name__}, and no "
                    f"checkpoint with it could be loaded; use save_hyperparameters(ignore=['{name}']), or plain values"
                )


def check_split(datamodule: LightningDataModule | None, split: str) -> None:
    """Check that the split, `val` or `test`, has samples.

    Raises:
        InputError: It is empty.
    """
    if _is_empty(datamodule, split):
        raise InputError(f"the {split} split is empty; set --data.{split}_size to a fraction such as 0.2")


def check_training_split(datamodule: ArrayDataModule, resume: ResumePlan) -> None:
    """Check that a run which resumes in the middle of an epoch has as many training samples as before.

    Raises:
        InputError: The number has changed, so the remaining batches of the epoch would differ.
    """
    record = datamodule.recorded_split
    if record is None or datamodule.split_record is None:
        return
    before, now = record.sizes[0], datamodule.split_record.sizes[0]
    epoch, batch = resume.position
    if batch and now != before:
        raise InputError(
            f"data: cannot resume in the middle of an epoch (epoch {epoch + 1}, batch {batch + 1}) with {now} training "
            f"samples instead of {before}; put the data back, or start a new run with the weights: "
            "--init_from RUN/last.ckpt"
        )


def has_test(model: LightningModule, datamodule: LightningDataModule | None) -> bool:
    """Whether there are test data and a test step."""
    if _is_empty(datamodule, "test"):
        return False
    loader = type(datamodule or model).test_dataloader
    has_loader = loader not in (LightningDataModule.test_dataloader, LightningModule.test_dataloader)
    return has_loader and type(model).test_step is not LightningModule.test_step


def _is_empty(datamodule: LightningDataModule | None, split: str) -> bool:
    """Whether a DataModule of this package is set up and has no sample in the split."""
    splits = getattr(datamodule, "splits", None) or {}
    return split in splits and not len(splits[split])


def _loads_safely(value: Any) -> bool:
    file = io.BytesIO()
    try:
        torch.save(value, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except (UnpicklingError, TypeError, AttributeError):
        return False
    return True
