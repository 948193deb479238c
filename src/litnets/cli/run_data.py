"""Store in the run folder what a report shows of the data: data.json, inputs.parquet and baselines.json."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from litnets.analysis.baselines import Baselines, compute_baselines
from litnets.analysis.predictor import Predictor
from litnets.analysis.report_inputs import collect_inputs
from litnets.data.core.base import ArrayDataModule
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.runs.stored_inputs import save_inputs
from litnets.safety.escaping import printable
from litnets.tasks import Segmenter, Task


def store_data(run: Run, model: LightningModule, data: LightningDataModule | None) -> None:
    """Write data.json and inputs.parquet, with the mistakes in test_predictions.parquet if it exists.

    The caller has locked the run.
    """
    if not isinstance(data, ArrayDataModule):
        return
    with _replacing(run.data):
        data.ensure_setup()
        run.write_json(run.data, data.describe_data())
    with _replacing(run.inputs):
        path = run.recorded_predictions("test")
        predictions = RecordedPredictions.load(path) if path.exists() else None
        save_inputs(run.inputs, collect_inputs(data, predictions, _mask_predictor(model, data)))


def store_data_again(run: Run, model: LightningModule, data: LightningDataModule | None) -> None:
    """Write data.json and inputs.parquet again after a test that repeats the first one.

    If another process holds the lock, print one line and write nothing.
    """
    try:
        run.lock()
    except InputError as error:
        print(printable(f"note: the data are not stored: {error}"))
        return
    try:
        store_data(run, model, data)
    finally:
        run.unlock()


def store_baselines(run: Run, model: LightningModule, data: LightningDataModule | None, fits: bool | None) -> Baselines:
    """Write baselines.json, and return its content.

    Args:
        run: The run.
        model: The model that was tested.
        data: The data.
        fits: True to fit all baselines, False for none, None for those that should take less than about four seconds.
    """
    if fits is False or not isinstance(data, ArrayDataModule) or not isinstance(model, Task):
        return {}
    baselines: Baselines = {}
    with _replacing(run.baselines):
        data.ensure_setup()
        baselines = compute_baselines(model, data, fits_all=bool(fits), on_error=_report_baseline)
        run.write_json(run.baselines, baselines)
    return baselines


def _report_baseline(name: str, error: Exception) -> None:
    print(printable(f"note: no baseline {name}: {type(error).__name__}: {error}"))


@contextmanager
def _replacing(path: Path) -> Iterator[None]:
    """Remove a file, so that the body can write it again. An error is reported in one line and does not stop the run,
    which has been tested."""
    try:
        path.unlink(missing_ok=True)
        yield
    except Exception as error:
        print(printable(f"note: {path.name} is not written: {type(error).__name__}: {error}"))


def _mask_predictor(model: LightningModule, data: ArrayDataModule) -> Any:
    """Return a function that maps the tiles of an image to its mask; None if the model predicts no masks."""
    if not isinstance(model, Segmenter):
        return None
    predictor = Predictor(model, data, device=model.device)

    def predict(tiles: Any) -> Tensor:
        return predictor.predict_samples(tiles)["prediction"][0]

    return predict
