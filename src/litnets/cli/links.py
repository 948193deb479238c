"""The values that link the data to the model: read from the DataModule, or from the checkpoint of its training."""

from typing import Any

from lightning.pytorch import LightningDataModule

from litnets.cli.resolve_run import ResolvedRun
from litnets.cli.untrusted import check_linked_value
from litnets.data.core.base import ArrayDataModule
from litnets.errors import InputError


def linked_value(datamodule: LightningDataModule, name: str, command: str, resolved: ResolvedRun) -> Any:
    """Return the value that the model's argument `name` gets.

    It is the DataModule's attribute of that name. The checkpoint's value takes its place if the data have changed since
    the training, and for new samples (`predict_path`), whose training files may not exist any more.

    Args:
        datamodule: The data.
        name: One of `LINKED_ATTRIBUTES`.
        command: fit, validate, test or predict.
        resolved: The run and the checkpoint that the command works on.

    Raises:
        InputError: The checkpoint was trained on another kind of data, so it does not define how to read new samples.
    """
    read_as_trained(datamodule, resolved)
    checkpoint, content = resolved.checkpoint, resolved.checkpoint_content
    if content is not None and getattr(datamodule, "data_changes", None) and "hyper_parameters" in content:
        return content["hyper_parameters"].get(name)
    if command != "predict" or content is None or getattr(datamodule, "predict_path", None) is None:
        return getattr(datamodule, name, None)
    kind = type(datamodule)
    if kind.__qualname__ not in content:
        raise InputError(
            f"checkpoint {checkpoint} was not trained on {kind.__name__}, so it does not define how to read new data"
        )
    if "hyper_parameters" not in content:
        return getattr(datamodule, name, None)
    value = content["hyper_parameters"].get(name)  # None if the model has no such argument
    check_linked_value(checkpoint, name, value)
    return value


def read_as_trained(datamodule: LightningDataModule | None, resolved: ResolvedRun) -> None:
    """Read the data as the run did: with the encoding of its checkpoint, and each sample in the recorded split.

    Does nothing if it has been done before: each linked attribute asks for it, because the data must be read first.
    """
    if not isinstance(datamodule, ArrayDataModule):
        return
    if datamodule.trained_state is None and resolved.checkpoint_content is not None:
        datamodule.trained_state = resolved.checkpoint_content.get(type(datamodule).__qualname__)
    record = resolved.split_record
    if record is None or datamodule.recorded_split is not None:
        return
    if datamodule.predict_path is None and record.datamodule == type(datamodule).__name__:
        record.check_spec(datamodule.split_spec)
        datamodule.recorded_split = record
        datamodule.ensure_setup()
