"""What a command prints before and after it runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from litnets.data.core.split_record import DataChanges
from litnets.runs.folder import Run
from litnets.runs.print_results import print_end, print_results, summarize
from litnets.safety.escaping import printable
from litnets.tracking.wandb_logger import WandbOptions, log_final_results, sync_commands
from litnets.training.resume.plan import ResumePlan


def print_resume(plan: ResumePlan) -> None:
    """Print where training resumes and which options have changed since."""
    epoch, batch = plan.position
    print(f"resuming at epoch {epoch + 1}, batch {batch + 1}")
    for key, (old, new) in plan.changes.items():
        print(printable(f"  {key}: {old} -> {new}"))


def changes_of(datamodule: LightningDataModule | None) -> DataChanges | None:
    """Return how the data have changed since the training; None if they have not, or nothing is known."""
    return getattr(datamodule, "data_changes", None) or None


def print_data_changes(datamodule: LightningDataModule | None, is_resuming: bool = False) -> None:
    """Print how the data have changed since the training."""
    if changes := changes_of(datamodule):
        hint = "" if is_resuming else " (test --split_again splits the data again)"
        print(f"data: {changes} since the run; its split is kept{hint}", flush=True)
        if is_resuming and changes.affects_results:
            print("data: the results will not equal those of an uninterrupted training", flush=True)


def print_model(model: LightningModule, datamodule: LightningDataModule | None, folder: Path | None) -> None:
    """Print what is trained, on what, and where the results go."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    data = f" on {type(datamodule).__name__}" if datamodule is not None else ""
    target = f" -> {folder}" if folder is not None else ""
    print(printable(f"{type(model).__name__} ({parameters:,} parameters){data}{target}"), flush=True)


def report_fit(
    run: Run,
    trainer: Trainer,
    wandb: WandbOptions,
    best: Path | None,
    test_metrics: Mapping[str, float] | None,
    data_changes: DataChanges | None = None,
) -> None:
    """Store the test metrics in results.json, send the results to W&B and print them.

    Args:
        run: The run.
        trainer: The Trainer that trained it.
        wandb: `--wandb.*`.
        best: The best checkpoint, if there is one.
        test_metrics: The metrics of the test; None if nothing was tested.
        data_changes: How the data have changed since the run was started.
    """
    results = run.read_results()
    if test_metrics is not None:
        overall, per_class = summarize(test_metrics)
        results = run.update_results(forget=("data_changes",), test=overall, test_per_class=per_class)
        title = "test, best checkpoint" if best else "test"
        if data_changes:
            results = run.update_results(data_changes=data_changes.to_dict())
            title += f"; data changed since the training: {data_changes}"
        print_results(title, test_metrics)
    log_final_results(trainer.loggers, wandb, results, best)
    print_end(results, run.folder, run.configs[-1], sync_commands(trainer.loggers))


def logged_metrics(trainer: Trainer) -> dict[str, float]:
    """Return the metrics of the test or validation that ran last."""
    values: dict[str, Any] = dict(trainer.callback_metrics)
    return {name: value.item() for name, value in values.items()}
