"""Export the network of a run: write the file, check it against the network, and only then keep it."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from litnets.analysis.load_run import read_split
from litnets.analysis.predictor import Predictor
from litnets.deploy.certificate import Certificate, CheckSamples, certify, choose_evenly
from litnets.deploy.formats import Format, check_packages, read, write
from litnets.deploy.graph import INPUT_NAMES, ExportedNetwork, as_tuple, trace
from litnets.deploy.metadata import describe
from litnets.deploy.stored_samples import read_stored
from litnets.errors import InputError
from litnets.runs.storage import not_written, write_json
from litnets.safety.files import replacing_folder

CERTIFICATE = "certificate.json"
GOLDEN = "golden.npz"
NUM_GOLDEN = 16


class Export(NamedTuple):
    """An exported network.

    Args:
        folder: The folder of the files.
        file: The network.
        certificate: How its predictions compare with those of the network that it came from.
    """

    folder: Path
    file: Path
    certificate: Certificate


def export_network(predictor: Predictor, format: Format = "onnx", folder: Path | None = None) -> Export:
    """Write the network of a run and the preparation of its inputs into one file, and verify the file.

    The file is compared with the network on all samples of the test split; without the data, on the inputs that the run
    recorded. The folder then holds the file, `certificate.json`, `golden.npz` (16 samples with the predictions of
    the network) and, for ONNX, `run.py`, which needs neither litnets nor PyTorch.

    Args:
        predictor: The network. It is exported in float32.
        format: `onnx`, or `pt2` for `torch.export.load`.
        folder: The folder to write, which may exist only if it holds an earlier export; None for `export` in the run
            folder.

    Raises:
        InputError: A package is missing, the network cannot be exported or predicts differently afterwards, or there
            is nothing to compare on. The folder stays as it was.
    """
    check_packages(format)
    folder = folder or _folder_of(predictor)
    _check_replaceable(folder)
    precision, predictor = predictor.precision, _in_float32(predictor)
    samples = _samples_to_check(predictor)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(folder) as part:
            certificate = _write(predictor, samples, format, part)
            certificate.recorded_precision = precision
            write_json(part / CERTIFICATE, certificate.to_dict())
    except OSError as error:
        raise not_written(folder, error) from error
    return Export(folder, folder / f"model.{format}", certificate)


def _write(predictor: Predictor, samples: CheckSamples, format: Format, folder: Path) -> Certificate:
    """Write the files of an export into a folder, and return the certificate, which is not written yet."""
    golden = samples.data[choose_evenly(samples.data, NUM_GOLDEN)]
    inputs = as_tuple(golden[0])
    with torch.inference_mode():
        outputs = dict(predictor.predict_batch(*golden))
    program = trace(build_network(predictor), inputs)
    path = folder / f"model.{format}"
    write(program, format, path, list(outputs), describe(predictor, inputs, outputs, format))
    recorded: Mapping[str, Any] = {} if predictor.run is None else predictor.run.read_results().get("test") or {}
    certificate = certify(predictor, read(format, path, list(outputs)), samples, recorded)
    certificate.file = path.name
    certificate.megabytes = round(path.stat().st_size / 1e6, 3)
    weights = [*predictor.network.parameters(), *predictor.network.buffers()]
    certificate.network_megabytes = round(sum(weight.nbytes for weight in weights) / 1e6, 3)
    _save_golden(folder / GOLDEN, inputs, outputs)
    if format == "onnx":
        _copy_programs(predictor.datamodule.describe_reading(), folder)
    return certificate


def build_network(predictor: Predictor) -> ExportedNetwork:
    """Return the module to export, in evaluation mode."""
    return ExportedNetwork(predictor).eval().requires_grad_(False)


def _copy_programs(reading: Mapping[str, Any], folder: Path) -> None:
    """Write `run.py` and what it imports: `reading.py`, and `tiles.py` for the masks of large images."""
    source = Path(__file__).with_name("standalone")
    shutil.copyfile(source / "run.py", folder / "run.py")
    shutil.copyfile(source / f"read_{reading['kind']}.py", folder / "reading.py")
    if "overlap" in reading:
        shutil.copyfile(source / "tiles.py", folder / "tiles.py")


def _save_golden(path: Path, inputs: tuple[Tensor, ...], outputs: Mapping[str, Tensor]) -> None:
    arrays = {name: value.numpy() for name, value in [*zip(INPUT_NAMES, inputs, strict=False), *outputs.items()]}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _folder_of(predictor: Predictor) -> Path:
    if predictor.run is None:
        raise InputError("export: a network without a run needs a folder to write to")
    return predictor.run.export


def _check_replaceable(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not (folder / CERTIFICATE).is_file()):
        raise InputError(f"{folder} exists and holds no earlier export; remove it, or choose another --output")


def _in_float32(predictor: Predictor) -> Predictor:
    """Return a predictor that computes in float32 on the CPU, whatever the precision of the training."""
    return Predictor(predictor.network.float(), predictor.datamodule, predictor.run, device="cpu")


def _samples_to_check(predictor: Predictor) -> CheckSamples:
    """Return the test split or, if the data cannot be read, the inputs that the run has recorded."""
    try:
        samples = read_split(predictor.datamodule, predictor.run, "test")
        return CheckSamples(samples, "the test split", have_targets=True)
    except InputError as error:
        stored = read_stored(predictor)
        if stored is None:
            raise InputError(
                f"export: there is nothing to compare the exported network on: {error}; and the run has no "
                "inputs.parquet, which newer runs have"
            ) from error
        origin = f"inputs.parquet (the test split cannot be read: {error})"
        return CheckSamples(stored, origin, have_targets=False)
