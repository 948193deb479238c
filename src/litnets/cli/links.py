"""The values that link the data to the model: read from the DataModule, or from the checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

from litnets.cli.resolve_run import ResolvedRun
from litnets.cli.untrusted import check_linked_value
from litnets.data.core.base import ArrayDataModule
from litnets.errors import InputError
from litnets.nets.pretrained import search_first
from litnets.safety.checkpoint_file import weights_follow


def linked_value(datamodule: LightningDataModule, name: str, command: str, resolved: ResolvedRun) -> Any:
    """Return the value that the model's argument `name` gets.

    It is the DataModule's attribute of that name. If the data have changed since training, or if new samples are read
    (`predict_path`, `--on`), it is the checkpoint's value instead, because the training files may no longer exist.

    Args:
        datamodule: The data.
        name: One of `LINKED_ATTRIBUTES`.
        command: fit, validate, test or predict.
        resolved: The run and the checkpoint that the command works on.

    Raises:
        InputError: The checkpoint was trained on another kind of data, so it does not define how to read new samples.
    """
    read_as_trained(datamodule, resolved)
    content = resolved.checkpoint_content or {}
    may_read_new_samples = command == "predict" or resolved.labeled_path is not None
    reads_new_samples = may_read_new_samples and getattr(datamodule, "predict_path", None) is not None
    have_data_changed = bool(getattr(datamodule, "data_changes", None))
    kind = type(datamodule)
    if content and reads_new_samples and not have_data_changed and kind.__qualname__ not in content:
        raise InputError(
            f"checkpoint {resolved.checkpoint} was not trained on {kind.__name__}, so it does not define how to read "
            "new data"
        )
    if "hyper_parameters" in content and (reads_new_samples or have_data_changed):
        value = content["hyper_parameters"].get(name)  # None if the model has no such argument
        check_linked_value(resolved.checkpoint, name, value)
        return value
    return getattr(datamodule, name, None)


def read_as_trained(datamodule: LightningDataModule | None, resolved: ResolvedRun) -> None:
    """Read the data as the run did: with the encoding in its checkpoint, and with the recorded split.

    Samples of `--on` do not belong to any split. This is called before each linked attribute is read, because it may be
    computed from the data; only the first call has an effect.
    """
    if resolved.labeled_path is not None:
        _evaluate_on(datamodule, resolved.labeled_path, resolved)
    if not isinstance(datamodule, ArrayDataModule):
        return
    if datamodule.trained_state is None and resolved.checkpoint_content is not None:
        datamodule.trained_state = resolved.checkpoint_content.get(type(datamodule).__qualname__)
    record = resolved.split_record
    if record is None or datamodule.recorded_split is not None or datamodule.predict_path is not None:
        return
    if record.datamodule == type(datamodule).__name__:
        record.check_spec(datamodule.split_spec)
        datamodule.recorded_split = record
        datamodule.ensure_setup()


@contextmanager
def pretrained_weights(data_folder: str | None, resolved: ResolvedRun) -> Iterator[None]:
    """Let a network that is built in this block look for pretrained weights in the folder of the data first.

    If a checkpoint replaces the weights, no pretrained weights are loaded. A run can thus be used without their file.
    """
    if resolved.checkpoint is not None or resolved.init_from is not None:
        with weights_follow():
            yield
    else:
        with search_first(None if data_folder is None else Path(data_folder)):
            yield


def _evaluate_on(datamodule: LightningDataModule | None, path: Path, resolved: ResolvedRun) -> None:
    if not isinstance(datamodule, ArrayDataModule):
        raise InputError(f"--on: {type(datamodule).__name__} is not an ArrayDataModule, so it cannot read {path}")
    if datamodule.labeled_path is None:
        hyperparameters = (resolved.checkpoint_content or {}).get("hyper_parameters", {})
        class_names = hyperparameters.get("class_names")
        check_linked_value(resolved.checkpoint, "class_names", class_names)
        datamodule.evaluate_on(path, class_names)
