"""litnets from Python.

    run = litnets.fit("configs/digits_mlp.yaml", {"model.lr": 0.01})
    run = litnets.fit(litnets.MLPClassifier, litnets.Digits(batch_size=64), lr=0.003, max_epochs=5)
    net = litnets.load(run)

`fit` does the same as the command, with the same run folder and results.
"""

import copy
import inspect
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule

from litnets import data as data_classes
from litnets import tasks as task_classes
from litnets.analysis.predictor import Predictor
from litnets.cli.defaults import experiment_name
from litnets.cli.error_messages import init_arguments
from litnets.cli.in_process import run_command
from litnets.cli.options import OPTIONS
from litnets.data.core.base import ArrayDataModule
from litnets.data.core.in_memory import class_path, describe_datamodule, is_in_memory
from litnets.errors import InputError, alternatives, did_you_mean
from litnets.runs.find import find_run
from litnets.runs.folder import Run
from litnets.runs.storage import read_text
from litnets.safety.plain import load_yaml
from litnets.safety.resolving import import_object
from litnets.training.trainer import AutoTrainer


class TrainedRun:
    """A run that `litnets.fit` has trained.

        run.results["test"]["accuracy"]
        run.resume(max_epochs=10)

    Args:
        run: The run folder.
        datamodule: The data, if they are only in memory.
    """

    def __init__(self, run: Run, datamodule: LightningDataModule | None = None) -> None:
        self._run = run
        self._datamodule = datamodule

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._run.folder

    @property
    def results(self) -> dict[str, Any]:
        """The content of results.json: test metrics, best validation score, epochs, seconds ..."""
        return self._run.read_results()

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"TrainedRun({str(self.folder)!r})"

    def test(self, overrides: Mapping[str, Any] | None = None, /, **arguments: Any) -> dict[str, float]:
        """Return the metrics of the best checkpoint on the test split, like `litnets test`.

        Args:
            overrides: Options by their dotted names, such as `{"data.eval_batch_size": 64}`.
            **arguments: Options by their last name, such as `eval_batch_size=64`.

        Raises:
            InputError: An option is wrong, or a file of the run is missing or damaged.
        """
        return run_command(self._command("test", overrides, arguments), datamodule=self._datamodule).metrics

    def resume(self, overrides: Mapping[str, Any] | None = None, /, **arguments: Any) -> "TrainedRun":
        """Resume the training from the last checkpoint, like `litnets resume`, and return the run.

        Args:
            overrides: Options by their dotted names, such as `{"model.lr": 0.001}`.
            **arguments: Options by their last name, such as `max_epochs=10`.

        Raises:
            InputError: An option is wrong or cannot be changed, or there is no checkpoint to resume from.
        """
        run_command(self._command("fit", overrides, arguments), resume=self._run, datamodule=self._datamodule)
        return self

    def _command(self, command: str, overrides: Mapping[str, Any] | None, arguments: Mapping[str, Any]) -> list[str]:
        """Return the arguments of a command that works on this run."""
        config = str(self._run.configs[-1])
        named = _named(arguments, *_classes_of(config))
        return [command, "--config", config, *_options(overrides or {}), *_options(named)]


def fit(
    experiment: str | os.PathLike[str] | type[LightningModule],
    /,
    data: LightningDataModule | type[LightningDataModule] | Mapping[str, Any] | str | None = None,
    overrides: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> TrainedRun:
    """Train a network, test its best checkpoint, and return the run, like `litnets fit`.

        litnets.fit("configs/digits_mlp.yaml", {"model.lr": 0.01})
        litnets.fit(litnets.MLPClassifier, litnets.Digits(batch_size=64), lr=0.003, max_epochs=5)

    The random generators are seeded (`seed_everything`, 42 by default) during the call, and restored after it.

    Args:
        experiment: A configuration file, or the class of the model.
        data: With a class: the DataModule, as an object, a class or the name of a class. With a configuration file:
            options that override it.
        overrides: Options by their dotted names, such as `{"trainer.max_epochs": 5}`.
        **arguments: Options by their last name: arguments of the model, the Trainer or the data, or other options of
            `litnets fit`, such as `experiment` and `seed_everything`.

    Raises:
        InputError: An option is unknown, ambiguous or wrong.
        KeyboardInterrupt: Ctrl-C was pressed. The run has been saved and can be resumed.
    """
    if isinstance(experiment, (str, os.PathLike)) and Path(experiment).suffix in (".yaml", ".yml"):
        if data is not None and not isinstance(data, Mapping):
            raise InputError("fit: a configuration file names its data; give options as a dict, or a class of a model")
        named = _named(arguments, *_classes_of(str(experiment)))
        return _fit(["--config", os.fspath(experiment)], {**(data or {}), **(overrides or {}), **named}, None)
    model = _class(experiment, "model", task_classes, LightningModule)
    if isinstance(data, Mapping) or data is None:
        raise InputError("fit: give the data after the class of the model: a DataModule, or its class")
    datamodule = data if isinstance(data, LightningDataModule) else None
    data_class = None if datamodule is not None else _class(data, "data", data_classes, LightningDataModule)
    named = _named(arguments, model, data_class)
    if data_class is not None:
        args = [f"--model={class_path(model)}", f"--data={class_path(data_class)}"]
        return _fit(args, {**(overrides or {}), **named}, None)
    assert datamodule is not None
    section = describe_datamodule(datamodule)
    default = {"experiment": experiment_name(type(datamodule).__name__, model.__name__)}
    args = [f"--model={class_path(model)}", f"--data={json.dumps(section)}"]
    return _fit(args, {**default, **(overrides or {}), **named}, datamodule, is_in_memory(section))


def _fit(
    args: list[str], options: Mapping[str, Any], datamodule: LightningDataModule | None, in_memory: bool = False
) -> TrainedRun:
    run = run_command(["fit", *args, *_options(options)], datamodule=datamodule).run
    assert run is not None
    return TrainedRun(run, datamodule if in_memory else None)


def load(
    run: str | os.PathLike[str] | Run,
    datamodule: ArrayDataModule | None = None,
    device: str | torch.device | None = None,
    trust: Iterable[str] = (),
) -> Predictor:
    """Return the network of a run in evaluation mode, with the preparation of its inputs.

        net = litnets.load("checkpoints/digits_cnn/<run>")
        net.predict("photo.png")

    The best checkpoint is loaded, with torch's safe loading. The training data are not needed.

    Args:
        run: What `litnets.fit` returned, a run folder, the folder or name of an experiment (its newest run), or a
            checkpoint in a run folder.
        datamodule: The data, if the run's config.yaml cannot describe them.
        device: The device to compute on; None for the GPU if there is one.
        trust: Modules, with their submodules, that the run may name; they are imported. Classes of litnets and of
            modules that your program has imported are always allowed.

    Raises:
        InputError: There is no such run, a file of it is missing or damaged, or it names a class that is not allowed.
    """
    if isinstance(run, TrainedRun) and datamodule is None and isinstance(run._datamodule, ArrayDataModule):
        datamodule = copy.copy(run._datamodule)
    folder, checkpoint = (run, None) if isinstance(run, Run) else _find(Path(run))
    return Predictor.load(folder, checkpoint, datamodule, device, trust)


def _find(path: Path) -> tuple[Run, Path | None]:
    """Return the run that a path stands for, and the checkpoint if the path is one."""
    if path.suffix != ".ckpt" and not path.is_file():
        return find_run(str(path), Path("checkpoints")), None
    if not path.is_file():
        raise InputError(f"checkpoint {path}: no such file")
    run = Run.from_checkpoint(path)
    if run is None:
        raise InputError(
            f"{path} is not in a run folder, whose config.yaml names the model and the data; "
            "`load_from_checkpoint` of the model loads its weights alone"
        )
    return run, None if path.suffix == ".yaml" else path


# Options


def _class(value: Any, part: str, module: Any, expected: type) -> Any:
    """Return the class for an argument of `fit`, which is a class or the name of one."""
    if isinstance(value, str):
        cls = import_object(value, part) if "." in value else getattr(module, value, None)
        if cls is None:
            hint = did_you_mean(value, module.__all__)
            if part == "model" and not hint:
                hint = "; expected a class such as MLPClassifier, or a file such as configs/digits_mlp.yaml"
            raise InputError(f"{part}: no class '{value}'{hint}")
        value = cls
    if not (inspect.isclass(value) and issubclass(value, expected)):
        kind = value.__name__ if inspect.isclass(value) else f"an object of {type(value).__name__}"
        hint = "; pass the class, and its arguments by name" if isinstance(value, LightningModule) else ""
        raise InputError(f"{part}: expected a class derived from {expected.__name__}, got {kind}{hint}")
    return value


def _classes_of(config: str) -> tuple[Any, Any]:
    """Return the classes of the model and the data that a configuration names, None where it names none."""
    path = Path(config)
    if not path.is_file():
        return None, None  # the command line reports it
    content = load_yaml(config, read_text(path))
    sections = [content.get(part) if isinstance(content, dict) else None for part in ("model", "data")]
    names = [section.get("class_path") if isinstance(section, dict) else section for section in sections]
    modules = (task_classes, data_classes)
    return tuple(  # type: ignore[return-value]
        None if not isinstance(name, str) else getattr(module, name, None) or import_object(name)
        for name, module in zip(names, modules, strict=True)
    )


def _named(arguments: Mapping[str, Any], model: Any, data: Any) -> dict[str, Any]:
    """Return keyword arguments under their dotted names.

    Raises:
        InputError: A name is unknown or ambiguous.
    """
    parts = {"model": model, "trainer": AutoTrainer, "data": data}
    known = {part: [] if cls is None else init_arguments(cls) for part, cls in parts.items()}
    top = [option.name for option in OPTIONS] + ["seed_everything"]
    named = {}
    for name, value in arguments.items():
        owners = [f"{part}.{name}" for part, names in known.items() if name in names]
        owners += [name] if name in top else []
        if not owners:
            names = [*top, *(other for others in known.values() for other in others)]
            raise InputError(f"fit: no option '{name}'{did_you_mean(name, names)}")
        if len(owners) > 1:
            written = alternatives(f'{{"{owner}": ...}}' for owner in owners)
            raise InputError(f"fit: '{name}' may be {alternatives(owners)}; write {written}")
        named[owners[0]] = value
    return named


def _options(options: Mapping[str, Any]) -> list[str]:
    """Return options as arguments of the command line."""
    return [f"--{name}={_to_text(name, value)}" for name, value in options.items()]


def _to_text(name: str, value: Any) -> str:
    plain = _to_plain(name, value)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _to_plain(name: str, value: Any) -> Any:
    """Return a value as config.yaml can hold it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if inspect.isclass(value):
        return class_path(value)
    if isinstance(value, (list, tuple)):
        return [_to_plain(name, one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _to_plain(name, one) for key, one in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(
        f"{name}: an object of {type(value).__name__} cannot be written into config.yaml; give its class, or "
        '{"class_path": ..., "init_args": {...}}'
    )
