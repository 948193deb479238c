"""Build what `litnets fit` would train, without a run folder and without training."""

from typing import Any

from lightning.pytorch import Trainer

from litnets.cli.app import LitnetsCLI
from litnets.cli.in_process import restored_process_state
from litnets.cli.preflight import check_before_start
from litnets.training.signals import Signals
from litnets.training.trainer import AutoTrainer


class BuildCLI(LitnetsCLI):
    """Parse options of `fit` and build model and data, but do not train. Nothing is written.

    Args:
        options: Options of `fit`.
        parse_only: Build nothing.

    Raises:
        InputError: An option is wrong, or a constructor rejects its arguments.

    Example:
        >>> BuildCLI(["--config", "configs/digits_mlp.yaml"]).model  # doctest: +SKIP
    """

    def __init__(self, options: list[str], parse_only: bool = False) -> None:
        self._parse_only = parse_only
        super().__init__(["fit", *options, "--wandb.mode=off"], Signals(exits=False))

    def instantiate_classes(self) -> None:
        if not self._parse_only:
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return the Trainer without callbacks and loggers."""
        config = {**self.built.trainer, **kwargs}
        check_before_start("fit", self.model, self.datamodule, self.options.checkpoint.monitor, config, None)
        off = {"callbacks": [], "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return AutoTrainer(**{**config, **off})

    def _run_subcommand(self, subcommand: str) -> None:
        """Do not train."""


def check_options(options: list[str], parse_only: bool = False) -> None:
    """Check options of `fit`, and leave the process as it was.

    Args:
        options: The options.
        parse_only: Check names and types only; otherwise build the model and read the data, too.

    Raises:
        InputError: An option is wrong.
    """
    with restored_process_state():
        BuildCLI(options, parse_only)
