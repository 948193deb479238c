"""Load the calibrated network of a run, and its DataModule with the state that was fitted on the training split.

    saved = SavedRun.read(run)
    network, datamodule = saved.load_network(), saved.load_datamodule()     # without the training data
    test = read_split(datamodule, run, "test")                              # reads the training data

Only classes of litnets, and of the modules in `trust`, are imported.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import jsonargparse
import torch
from lightning.pytorch import LightningDataModule, LightningModule

from litnets.analysis.calibrated_run import Calibration
from litnets.data.core.base import ArrayDataModule
from litnets.data.core.in_memory import InMemoryData, plain_arguments
from litnets.data.core.new_samples import Split
from litnets.data.core.split_record import SplitRecord
from litnets.errors import InputError
from litnets.former_names import update_class_paths
from litnets.runs.folder import Run
from litnets.runs.storage import read_text
from litnets.safety.checkpoint_file import load_model, load_verified
from litnets.safety.plain import load_yaml
from litnets.safety.resolving import names_from_checkpoint, resolve_class
from litnets.tasks import Task


@dataclass(frozen=True)
class SavedRun:
    """The newest configuration of a run, and one of its checkpoints.

    Args:
        run: The run.
        checkpoint: The path of the checkpoint.
        config: The configuration. It names the classes of the model and the data.
        content: The content of the checkpoint.
        trust: Modules, with their submodules, that the configuration may name and import.
    """

    run: Run
    checkpoint: Path
    config: Any
    content: dict[str, Any]
    trust: Iterable[str]

    @classmethod
    def read(cls, run: Run, checkpoint: Path | None = None, trust: Iterable[str] = ()) -> Self:
        """Read the newest configuration of a run and one of its checkpoints, by default the best one.

        Raises:
            InputError: A file is missing or damaged.
        """
        checkpoint = checkpoint or run.best
        if not checkpoint.exists():
            raise InputError(f"there is no checkpoint {checkpoint} (a run that has just started has not saved one yet)")
        path = run.configs[-1]
        if not path.exists():
            raise InputError(f"{run.folder} has no config.yaml, which names the classes of the model and the data")
        config = load_yaml(str(path), update_class_paths(read_text(path)))
        return cls(run, checkpoint, config, load_verified(checkpoint, mmap=True), trust)

    @property
    def precision(self) -> str:
        """The precision that the run was trained with, as Lightning names it."""
        return str((self.config.get("trainer") or {}).get("precision") or "32-true")

    def load_network(self) -> LightningModule:
        """Construct the network with its weights, and calibrate it if the run has a calibration for these weights.

        Raises:
            InputError: The network does not fit the checkpoint, or its class is not allowed.
        """
        model_class = self._resolve(self.config, "model", LightningModule)
        # Compiling takes a minute, which pays off only in training.
        overrides = {"compile": False} if issubclass(model_class, Task) else {}
        with torch.random.fork_rng(devices=[]):  # initial weights are random, but must not change the global state
            network: LightningModule = load_model(model_class, self.checkpoint, self.content, overrides, self.trust)
        if (calibration := Calibration.find(self.run, self.content["state_dict"])) is not None:
            calibration.apply(network)
        return network

    def load_datamodule(self) -> ArrayDataModule:
        """Construct the DataModule, which then reads new inputs as in training. No file is read yet.

        Raises:
            InputError: It cannot be constructed from the configuration, or its class is not allowed.
        """
        datamodule = self._build_datamodule()
        self.restore(datamodule)
        return datamodule

    def restore(self, datamodule: ArrayDataModule) -> None:
        """Restore the state that was fitted on the training split, so that new inputs are read as in training."""
        if (state := self.content.get(type(datamodule).__qualname__)) is not None:
            datamodule.restore_for_inputs(state)

    def _resolve(self, config: Any, part: str, expected: type) -> Any:
        """Return the class of the model or the data that a configuration names."""
        section = config.get(part) if isinstance(config, dict) else None
        if not isinstance(section, dict) or "class_path" not in section:
            raise InputError(f"{self.run.config}: expected {part}.class_path")
        package = __name__.partition(".")[0]
        trusted = [self.trust] if isinstance(self.trust, str) else self.trust
        with names_from_checkpoint(str(self.run.folder), [package, *trusted]):
            return resolve_class(f"{part}.class_path", section["class_path"], expected)

    def _build_datamodule(self) -> ArrayDataModule:
        cls = self._resolve(self.config, "data", LightningDataModule)
        arguments = self.config["data"].get("init_args") or {}
        is_in_memory = cls is InMemoryData
        if is_in_memory:
            cls = self._resolve({"data": arguments}, "data", LightningDataModule)
            arguments = plain_arguments(arguments["arguments"])
        if not issubclass(cls, ArrayDataModule):
            raise InputError(
                f"{self.run.folder}: its DataModule is {cls.__name__}, which does not define how to read new inputs; "
                "derive it from litnets.ArrayDataModule, or use `load_from_checkpoint` of the model"
            )
        # Augmentation is for training only, and its value names classes, which are refused below.
        arguments = {name: value for name, value in arguments.items() if name != "augment"}
        if "skip_broken" in arguments:
            arguments["skip_broken"] = False  # so that there is a prediction for each input
        for name, value in arguments.items():
            if "class_path" in str(value):
                raise InputError(
                    f"{self.run.config}: data.{name} names a class; construct the DataModule and pass it: "
                    "litnets.load(run, datamodule)"
                )
        try:
            if not is_in_memory:
                return _instantiate(cls, arguments)
            datamodule: ArrayDataModule = cls.build_for_inputs(arguments, self.content.get(cls.__qualname__, {}))
            datamodule.has_training_data = False
            return datamodule
        except (jsonargparse.ArgumentError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{self.run.config}: {cls.__name__} cannot be constructed again ({reason[:200]}); construct it and "
                "pass it: litnets.load(run, datamodule)"
            ) from error


def _instantiate(cls: type[ArrayDataModule], arguments: Mapping[str, Any]) -> ArrayDataModule:
    """Construct a DataModule as the command line does: the types of its arguments are converted."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "data")
    datamodule: ArrayDataModule = parser.instantiate(parser.parse_object({"data": arguments})).data
    return datamodule


def read_split(datamodule: ArrayDataModule, run: Run | None, part: str) -> Split:
    """Return the samples of a split, with their targets, split and encoded as in training.

    Args:
        datamodule: The DataModule, from `load_datamodule`. It then holds the splits instead of reading new inputs.
        run: The run; None if the DataModule has the splits already.
        part: train, val or test.

    Raises:
        InputError: The split is empty, or the data are missing, were in memory, or differ from those of the training.
    """
    if not datamodule.splits:
        _read_splits(datamodule, run)
    if not len(datamodule.splits[part]):
        raise InputError(f"the {part} split is empty")
    return datamodule.splits[part]


def _read_splits(datamodule: ArrayDataModule, run: Run | None) -> None:
    if not datamodule.has_training_data:
        raise InputError("the data of the run were in memory, so they cannot be read again")
    datamodule.predict_path = None  # as long as it is set, no splits are made
    if run is not None and run.split.exists():
        record = SplitRecord.load(run.split)
        record.check_spec(datamodule.split_spec)
        datamodule.recorded_split = record
    try:
        datamodule.ensure_setup()
    except FileNotFoundError as error:
        raise InputError(f"{error.filename or error}: no such file") from error
    if datamodule.trained_state is not None:
        datamodule.load_state_dict(dict(datamodule.trained_state))
