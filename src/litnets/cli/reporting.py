"""What a command prints before and after it runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from litnets.analysis.baselines import Baselines
from litnets.analysis.report import build_report, is_quick
from litnets.cli.advice import advice
from litnets.cli.calibration import print_calibration
from litnets.cli.resolve_run import ResolvedRun
from litnets.data import TableDataModule
from litnets.data.core.base import ArrayDataModule
from litnets.data.core.split_record import DataChanges, SplitRecord
from litnets.data.tables.summary import summary_lines
from litnets.errors import InputError, abbreviate
from litnets.runs.folder import Run
from litnets.runs.print_results import print_end, print_results, summarize
from litnets.safety.escaping import printable
from litnets.tracking.wandb_logger import WandbOptions, log_final_results, sync_commands
from litnets.training.resume.plan import ResumePlan


def print_start(
    model: LightningModule, datamodule: LightningDataModule | None, resolved: ResolvedRun, is_dry_run: bool
) -> None:
    """Print where training resumes, if it does, then the model, the data and the run folder."""
    lines = [] if resolved.wandb_note is None else [resolved.wandb_note]
    if resolved.resume is not None and not is_dry_run:
        _print_resume(resolved.resume)
        _print_data_changes(datamodule, is_resuming=True)
    folder = None if is_dry_run or resolved.run is None else resolved.run.folder
    parameters = sum(parameter.numel() for parameter in model.parameters())
    data = f" on {type(datamodule).__name__}" if datamodule is not None else ""
    target = f" -> {folder}" if folder is not None else ""
    lines.append(printable(f"{type(model).__name__} ({parameters:,} parameters){data}{target}"))
    if isinstance(datamodule, ArrayDataModule) and datamodule.splits and resolved.resume is None:
        lines.append(printable(_describe_data(datamodule)))
    if folds := _fold_of(datamodule):
        fold, num_folds = folds
        every = f"one of the {num_folds} runs of a cross-validation (--data.fold 0 to {num_folds - 1})"
        lines.append(f"fold {fold} of {num_folds}: {every}")
    if isinstance(datamodule, TableDataModule) and resolved.resume is None:
        lines += summary_lines(datamodule.table.summary)
    # In one write, because a reader may close the pipe after the first line: a training that has begun by then is kept.
    print("\n".join(lines) + "\n", end="", flush=True)


def _describe_data(datamodule: ArrayDataModule) -> str:
    """Return a line with the size of each split and the classes."""
    nouns = {"train": "training", "val": "validation", "test": "test"}
    line = ", ".join(f"{len(datamodule.splits[part]):,} {noun}" for part, noun in nouns.items()) + " samples"
    names = getattr(datamodule, "class_names", None)
    if names:
        noun = "labels" if getattr(datamodule, "multilabel", False) else "classes"
        line += f"; {len(names)} {noun}: {abbreviate([str(name) for name in names])}"
    return line


def _print_resume(plan: ResumePlan) -> None:
    epoch, batch = plan.position
    print(f"resuming at epoch {epoch + 1}, batch {batch + 1}")
    for key, (old, new) in plan.changes.items():
        print(printable(f"  {key}: {old} -> {new}"))


def report_data(datamodule: LightningDataModule | None, split_record: SplitRecord | None, split_again: bool) -> None:
    """Print how the data have changed since the training, and whether they are split as in the training.

    Args:
        datamodule: The data.
        split_record: The split of the training, if it is known and used.
        split_again: Whether the data are split again instead.
    """
    _print_data_changes(datamodule)
    kind = type(datamodule).__name__
    is_other = split_record is not None and split_record.datamodule != kind
    if split_record is not None and is_other and not getattr(datamodule, "predict_path", None):
        print(f"data: the split of the run belongs to {split_record.datamodule}, so {kind} does not use it", flush=True)
    if split_again:
        print("data: split again; these samples may have been trained on", flush=True)


def _fold_of(datamodule: LightningDataModule | None) -> tuple[int, int] | None:
    """Return the fold that is held out, from 0, and the number of folds, if there are any."""
    spec = getattr(datamodule, "split_spec", None) or datamodule
    num_folds = getattr(spec, "num_folds", None)
    return None if num_folds is None else (getattr(spec, "fold", 0), num_folds)


def _data_changes(datamodule: LightningDataModule | None) -> DataChanges | None:
    """Return how the data have changed since the training; None if they have not, or nothing is known."""
    return getattr(datamodule, "data_changes", None) or None


def _print_data_changes(datamodule: LightningDataModule | None, is_resuming: bool = False) -> None:
    if changes := _data_changes(datamodule):
        hint = "" if is_resuming else " (test --split_again splits the data again)"
        print(f"data: {changes} since the run; its split is kept{hint}", flush=True)
        if is_resuming and changes.affects_results:
            print("data: the results will not equal those of an uninterrupted training", flush=True)


def report_evaluation(
    command: str, resolved: ResolvedRun, trainer: Trainer, datamodule: LightningDataModule | None
) -> None:
    """Print the results of `validate` or `test`."""
    title = f"{command}, {resolved.checkpoint or 'untrained'}"
    if resolved.labeled_path is not None:
        title += f", on {resolved.labeled_path}"
    if changes := _data_changes(datamodule):
        title += f"; data changed since the training: {changes}"
    print_results(title, logged_metrics(trainer), _breakdown(trainer))


def _breakdown(trainer: Trainer) -> str:
    """Return what the metrics of a test are broken down by: classes, unless the model says otherwise."""
    return str(getattr(trainer.lightning_module, "breakdown", "class"))


def store_test_metrics(
    run: Run, trainer: Trainer, datamodule: LightningDataModule | None, test_metrics: Mapping[str, float]
) -> None:
    """Store the metrics of the test of the best checkpoint in results.json.

    Args:
        run: The run.
        trainer: The Trainer that trained it.
        datamodule: The data, which may have changed since the run was started.
        test_metrics: The metrics.
    """
    overall, parts = summarize(test_metrics)
    run.update_results(forget=("data_changes",), test=overall, **{f"test_per_{_breakdown(trainer)}": parts})
    if changes := _data_changes(datamodule):
        run.update_results(data_changes=changes.to_dict())


def report_fit(
    run: Run,
    trainer: Trainer,
    datamodule: LightningDataModule | None,
    wandb: WandbOptions,
    best: Path | None,
    test_metrics: Mapping[str, float] | None,
    baselines: Baselines,
    report: bool | None,
) -> None:
    """Print the results, log them to W&B, and write the report.

    Args:
        run: The run.
        trainer: The Trainer that trained it.
        datamodule: The data, which may have changed since the run was started.
        wandb: `--wandb.*`.
        best: The best checkpoint, if there is one.
        test_metrics: The metrics of the test; None if nothing was tested.
        baselines: The metrics of the baselines in the same test.
        report: Whether to write a report; None to write it if it is quick to build.
    """
    folds = _fold_of(datamodule)
    results = run.update_results(fold=folds[0], num_folds=folds[1]) if folds else run.read_results()
    if test_metrics is not None:
        title = "test, best checkpoint" if best else "test"
        if folds:
            title += f", fold {folds[0]} of {folds[1]}"
        if changes := _data_changes(datamodule):
            title += f"; data changed since the training: {changes}"
        print_results(title, test_metrics, _breakdown(trainer))
        print_calibration(results.get("calibration"))
    for line in advice(trainer.lightning_module, results, baselines):
        print(printable(f"note: {line}"))
    log_final_results(trainer.loggers, wandb, results, best)
    write_report(run, report)
    print_end(results, run, sync_commands(trainer.loggers))


def write_report(run: Run, wanted: bool | None) -> None:
    """Write report.html and model_card.md. Those of an earlier training are removed in any case.

    Args:
        run: The run.
        wanted: Whether to write them; None to write them if they are quick to build.
    """
    for path in (run.report, run.model_card):
        path.unlink(missing_ok=True)
    if not (is_quick(run) if wanted is None else wanted):
        return
    try:
        build_report(run).save(run)
    except Exception as error:  # such as a full disk, which must not make a trained run fail
        reason = error if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        print(printable(f"note: no report: {reason}"))


def logged_metrics(trainer: Trainer) -> dict[str, float]:
    """Return the metrics of the test or validation that ran last."""
    values: dict[str, Any] = dict(trainer.callback_metrics)
    return {name: value.item() for name, value in values.items()}
