"""litnets from Python: the same as the commands, with the same run folders."""

import os
from collections.abc import Iterable
from pathlib import Path

import torch

from litnets.analysis.predictor import Predictor
from litnets.data.core.base import ArrayDataModule
from litnets.errors import InputError
from litnets.runs.find import find_run
from litnets.runs.folder import Run


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
        run: A run folder, the folder or name of an experiment (its newest run), or a checkpoint in a run folder.
        datamodule: The data, if the run's config.yaml cannot describe them.
        device: The device to compute on; None for the GPU if there is one.
        trust: Modules, with their submodules, that the run may name; they are imported. Classes of litnets and of
            modules that your program has imported need no trust.

    Raises:
        InputError: There is no such run, a file of it is missing or damaged, or it names a class that it may not name.
    """
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
