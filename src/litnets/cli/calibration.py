"""Calibrate a run after its test, and apply its calibration to later predictions."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from litnets.analysis.calibrate import NotCalibrated, calibrate
from litnets.analysis.calibrated_run import Calibration
from litnets.cli.resolve_run import ResolvedRun
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.storage import read_json
from litnets.safety.escaping import printable
from litnets.training.record_predictions import RecordPredictions


def calibrate_after_test(run: Run, trainer: Trainer, enabled: bool) -> dict[str, Any] | None:
    """Calibrate a run if its predictions have just been recorded, and store the results in results.json.

    A problem is reported in one line, because the test itself has succeeded.

    Args:
        run: The run.
        trainer: The Trainer that has tested it.
        enabled: `--calibrate`; False removes the calibration of an earlier test.

    Returns:
        The entry `calibration` of results.json, if the run is calibrated.
    """
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    recorder = next((one for one in callbacks if isinstance(one, RecordPredictions)), None)
    if recorder is None or not recorder.has_recorded:
        return None
    try:
        if recorder.locks:
            run.lock()
        run.calibration.unlink(missing_ok=True)
        run.update_results(forget=("calibration",))
        results = calibrate(run) if enabled else None
        if results is not None:
            run.update_results(calibration=results)
            limit: Any = trainer.limit_val_batches
            if isinstance(limit, int) or limit < 1:
                samples = read_json(run.calibration)["samples"]
                print(f"note: calibrated with {samples} validation samples (--trainer.limit_val_batches {limit})")
        return results
    except Exception as error:  # such as a full disk; the results of the test must be stored in any case
        reason = error if isinstance(error, (NotCalibrated, InputError)) else f"{type(error).__name__}: {error}"
        print(printable(f"note: the run is not calibrated: {reason}"))
        return None
    finally:
        if recorder.locks:
            run.unlock()


def print_calibration(results: Mapping[str, Any] | None) -> None:
    """Print the entry `calibration` of results.json in one line."""
    if results is None:
        return
    parts = []
    if "temperature" in results:
        parts.append(f"temperature {results['temperature']:.3g}")
        before, after = results["before"], results["after"]
        parts += [f"{name.upper()} {before[name]:.4f} -> {after[name]:.4f}" for name in ("ece", "nll")]
    regions = "sets" if "mean_set_size" in results else "intervals"
    coverage = f"90% {regions} cover {100 * results['coverage']:.1f}%"
    if "mean_set_size" in results:
        coverage += f" with {results['mean_set_size']:.2f} classes on average"
    print(f"calibration: {'; '.join([*parts, coverage])}")


def apply_calibration(model: LightningModule, resolved: ResolvedRun) -> None:
    """Calibrate the predictions of a model if the run of its checkpoint is calibrated."""
    if resolved.checkpoint is None or resolved.checkpoint_content is None:
        return
    run = Run.from_checkpoint(resolved.checkpoint) or resolved.run
    calibration = None if run is None else Calibration.find(run, resolved.checkpoint_content["state_dict"])
    if calibration is not None:
        calibration.apply(model)
