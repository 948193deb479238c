"""An attempt to train a run: recorded in the run folder when it starts, undone if it fails before the first step."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, Trainer

from litnets.cli.resolve_run import ResolvedRun
from litnets.data import TableDataModule
from litnets.data.core.base import ArrayDataModule
from litnets.data.tables.summary import columns_csv
from litnets.errors import InputError
from litnets.runs.environment import environment
from litnets.runs.folder import Run


def record_attempt(run: Run, resolved: ResolvedRun, datamodule: LightningDataModule | None, seed: int | None) -> None:
    """Write the configuration and the environment of an attempt into the run folder, and the split and the
    columns of a new run.

    Args:
        run: The run.
        resolved: Its configuration, and what it resumes.
        datamodule: The data.
        seed: The seed of the attempt.
    """
    run.add_attempt(resolved.config_yaml, environment(seed))
    if resolved.resume is None and isinstance(datamodule, ArrayDataModule):
        datamodule.ensure_setup()
        if datamodule.split_record is not None:
            datamodule.split_record.save(run.split)
        if isinstance(datamodule, TableDataModule) and datamodule.table.summary:
            run.write(run.columns, columns_csv(datamodule.table.summary))


@contextmanager
def undo_failed_attempt(run: Run, resolved: ResolvedRun, trainer: Trainer) -> Iterator[None]:
    """Run a training. If it fails before the first step, remove the folder of a new run, or withdraw the record of the
    attempt to resume a run."""
    try:
        yield
    except BaseException as error:
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            if resolved.resume is not None:
                steps_before = (resolved.checkpoint_content or {}).get("global_step", 0)
                if trainer.global_step <= steps_before:
                    run.withdraw_attempt()
            elif isinstance(error, (InputError, MisconfigurationException, BrokenPipeError)):
                has_started = trainer.fit_loop.epoch_loop.total_batch_idx >= 0
                if not has_started:
                    run.discard()
        raise
