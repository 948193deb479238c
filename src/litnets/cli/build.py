"""Build what `litnets fit` would train, without a run folder and without training."""

import io
from contextlib import redirect_stdout
from typing import Any

from lightning.pytorch import Trainer

from litnets.cli.app import LitnetsCLI
from litnets.cli.in_process import restored_process_state
from litnets.cli.preflight import check_before_start
from litnets.training.signals import Signals
from litnets.training.trainer import AutoTrainer


class BuildCLI(LitnetsCLI):
    """Parse options of `fit` and build data, model and Trainer, but do not train. Nothing is written.

    Args:
        options: Options of `fit`.
        **trainer: Arguments of the Trainer that override the options. It has no callbacks and loggers by default.

    Raises:
        InputError: An option is wrong, or a constructor rejects its arguments.

    Example:
        >>> BuildCLI(["--config", "configs/digits_mlp.yaml"]).model  # doctest: +SKIP
    """

    def __init__(self, options: list[str], **trainer: Any) -> None:
        quiet = {"callbacks": [], "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        self._trainer_arguments = quiet | trainer
        super().__init__(["fit", *options, "--wandb.mode=off"], Signals(exits=False))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = {**self.built.trainer, **kwargs}
        check_before_start("fit", self.model, self.datamodule, self.options.checkpoint.monitor, config, None)
        return AutoTrainer(**{**config, **self._trainer_arguments})

    def _run_subcommand(self, subcommand: str) -> None:
        """Do not train."""


def check_options(options: list[str]) -> None:
    """Check options of `fit` by building the model and reading the data. Print nothing; leave the process as it was.

    Raises:
        InputError: An option is wrong.
    """
    with restored_process_state(), redirect_stdout(io.StringIO()):
        BuildCLI(options)
