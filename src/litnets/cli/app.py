"""The command line of a run: Lightning's CLI with a run folder, default callbacks, and links from data to model.

Any model may be combined with any data, which is why this package imports both.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from litnets import data, tasks  # noqa: F401  (makes their classes available by their bare names)
from litnets.callbacks import EMA, Lookahead  # noqa: F401  (likewise)
from litnets.cli.apply_recipe import (
    apply_recipe,
    options_set_by_user,
    repeat_choices_of_requeued_run,
    uses_recipe,
)
from litnets.cli.attempt import record_attempt, undo_failed_attempt
from litnets.cli.calibration import apply_calibration, calibrate_after_test, print_calibration
from litnets.cli.config_loading import configure_jsonargparse
from litnets.cli.error_messages import first_cause, format_build_error, parse_options
from litnets.cli.links import linked_value, pretrained_weights, read_as_trained
from litnets.cli.options import DESCRIPTIONS, add_options
from litnets.cli.preflight import check_before_start, check_mask_folder, check_output, check_predict_path, has_test
from litnets.cli.reporting import (
    logged_metrics,
    print_start,
    report_data,
    report_evaluation,
    report_fit,
    store_test_metrics,
)
from litnets.cli.resolve_run import (
    ResolvedRun,
    check_config_files,
    check_runs_dir,
    config_paths,
    fill_in_defaults,
    resolve_run,
)
from litnets.cli.run_data import store_baselines, store_data, store_data_again
from litnets.cli.trainer_arguments import RunParts, trainer_arguments
from litnets.cli.untrusted import check_plain_arguments, check_run_config
from litnets.data.core.base import LINKED_ATTRIBUTES
from litnets.errors import InputError
from litnets.internals import is_rank_zero, subcommand_parser, tidy_help
from litnets.runs.folder import Run
from litnets.safety.escaping import printable
from litnets.training.assemble import install_epoch_loop
from litnets.training.checkpoints.loading import check_fits, load_weights
from litnets.training.fast_loop import disable_nvml_check
from litnets.training.record_predictions import has_recorded
from litnets.training.signals import Signals
from litnets.training.trainer import AutoTrainer

configure_jsonargparse()


class LitnetsCLI(LightningCLI):
    """`litnets fit|validate|test|predict`: parse the options, build data, model and trainer, run the command.

    Args:
        args: The command, which comes first, and its options.
        signals: The signal handlers of the process.
        resume: The run to resume, for `litnets resume`.
        datamodule: A DataModule to use instead of the one that the options describe.
        new_run: The run that `fit` starts; None for one that is named after the current time.

    Example:
        >>> with Signals() as signals:  # doctest: +SKIP
        ...     model = LitnetsCLI(["fit", "--model", "MLPClassifier", "--data", "Digits"], signals).model
    """

    def __init__(
        self,
        args: list[str],
        signals: Signals,
        resume: Run | None = None,
        datamodule: LightningDataModule | None = None,
        new_run: Run | None = None,
    ) -> None:
        self.command = args[0] if args else ""
        self._args = args
        self.signals = signals
        self._resumed_run = resume
        self._datamodule = datamodule
        self._named_run = new_run
        self.resolved: ResolvedRun  # set before anything is instantiated
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_class=AutoTrainer,
            save_config_callback=None,  # it writes to the logger's folder, not the run folder (Lightning issue #7679)
            seed_everything_default=42,
            trainer_defaults={
                "max_epochs": 20,
                "devices": 1,  # with more devices, batches would be larger, and the results would differ
                "enable_model_summary": False,  # `fit` prints one line
            },
            # Errors reach `cli.main.run`. Abbreviated options are refused, because they would hide typos.
            parser_kwargs={"prog": "litnets", "exit_on_error": False, "allow_abbrev": False}
            | {
                name: {"exit_on_error": False, "allow_abbrev": False, "description": DESCRIPTIONS[name]}
                for name in self.subcommands()
            },
            auto_configure_optimizers=False,  # tasks build their own
            load_from_checkpoint_support=False,  # checkpoints hold the arguments of __init__ as plain values
            args=args,
        )

    # Parser

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return Lightning's commands, each with the arguments of the Trainer's method that are not options.

        If the first argument is one of these commands, return it alone: building the parser of a command takes a
        tenth of a second.
        """
        skip = {"verbose", "return_predictions"}
        commands = {name: arguments | skip for name, arguments in LightningCLI.subcommands().items()}
        return {self.command: commands[self.command]} if self.command in commands else commands

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of the command, and the links from the data to the model."""
        add_options(parser, self.command)
        for name in LINKED_ATTRIBUTES:
            parser.link_arguments(
                "data",
                f"model.init_args.{name}",
                lambda datamodule, name=name: linked_value(datamodule, name, self.command, self.resolved),
                "instantiate",
            )
        tidy_help(parser, LINKED_ATTRIBUTES)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the arguments. Hide `--ckpt_path` from Lightning, which would silently override the command line with
        the checkpoint's hyperparameters."""
        check_config_files(self._args)
        self.config = parse_options(parser, subcommand_parser(self, min(self.subcommands())), self._args)
        options = self.config[self.config.subcommand]
        seed = options.seed_everything
        if not isinstance(seed, bool) and seed is not None and not 0 <= seed < 2**32:
            raise InputError(f"seed_everything: expected 0 to {2**32 - 1}, got {seed}")
        self._ckpt_path, options.ckpt_path = options.ckpt_path, None

    # Instantiation

    @property
    def options(self) -> Namespace:
        """The parsed options of the command."""
        options: Namespace = self.config[self.command]
        return options

    @property
    def built(self) -> Namespace:
        """The options of the command, with the classes in them instantiated."""
        options: Namespace = self.config_init[self.command]
        return options

    @property
    def run(self) -> Run | None:
        """The run that the command works on; None for a new one until the Trainer is built."""
        return self.resolved.run

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing is written (`--trainer.fast_dev_run`)."""
        return bool(self.options.trainer.fast_dev_run)

    def before_instantiate_classes(self) -> None:
        """Resolve the defaults, the run and the checkpoint."""
        options = self.options
        check_plain_arguments(options)
        check_run_config(options, self._args, config_paths(options))
        check_predict_path(self.command, self._args)
        fill_in_defaults(options)
        if self.command == "fit" and self._resumed_run is None:
            check_runs_dir(options, self._args)
            repeat_choices_of_requeued_run(options, self.parser, self._args)
        self.resolved = resolve_run(self.command, options, self._config_yaml(), self._ckpt_path, self._resumed_run)
        if self.command == "predict" and not self.is_dry_run:
            check_output(self.resolved.predictions, options.overwrite)
        options.ckpt_path = None if self.resolved.checkpoint is None else str(self.resolved.checkpoint)

    def _config_yaml(self) -> str:
        """Return the complete configuration as YAML."""
        yaml_text: str = subcommand_parser(self, self.command).dump(self.options, skip_unset=False)
        return yaml_text

    def instantiate_classes(self) -> None:
        """Build data, model and Trainer. If a constructor rejects its arguments, that is a user error."""
        arguments = (self.options.get("data") or {}).get("init_args") or {}
        data_folder = arguments.get("root") or arguments.get("data_dir")
        try:
            datamodule = self._datamodule
            recipe_lines: list[str] = []
            if uses_recipe(self.command, self.options, self.resolved):
                set_by_user = options_set_by_user(self.parser, self._args)
                datamodule, recipe_lines = apply_recipe(self.options, set_by_user, datamodule)
                self.resolved = replace(self.resolved, config_yaml=self._config_yaml())
            if datamodule is not None:
                self.options.data = datamodule  # so that its data are not read twice
            with pretrained_weights(data_folder, self.resolved):
                super().instantiate_classes()
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise InputError(format_build_error(first_cause(error))) from error
        for line in recipe_lines:
            rank_zero_only(print)(printable(line), flush=True)
        resolved = self.resolved
        if resolved.checkpoint is not None and resolved.checkpoint_content is not None:
            check_fits(resolved.checkpoint, resolved.checkpoint_content, self.model)
            if self.command == "predict" and self.options.calibrate:
                apply_calibration(self.model, resolved)
        if resolved.init_from is not None:
            report = load_weights(resolved.init_from, self.model, self.options.init_partial)
            rank_zero_only(print)(printable(report))
        elif loaded := getattr(self.model, "loaded_weights", None):
            rank_zero_only(print)(printable(loaded), flush=True)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Create the folder of a new run, and build the Trainer with the run's callbacks and loggers."""
        config = {**self.built.trainer, **kwargs}
        read_as_trained(self.datamodule, self.resolved)
        monitor = None if self.command != "fit" else self.options.checkpoint.monitor
        check_before_start(self.command, self.model, self.datamodule, monitor, config, self.resolved.resume)
        if self.run is None and (self.command == "fit" or (self.command == "predict" and not self.resolved.output)):
            self.resolved = replace(self.resolved, run=self._new_run())
        parts = RunParts(self.command, self.options, self.built, self.signals, self.resolved)
        try:
            trainer = AutoTrainer(**trainer_arguments(config, parts, self.model, self.datamodule))
            install_epoch_loop(trainer, self.options.fast_loop, seeds_data=not hasattr(self.datamodule, "start_at"))
            disable_nvml_check()
            return trainer
        except BaseException as error:
            if self.run is not None:
                self.run.discard_if_empty()
            if type(error) is RuntimeError:  # Lightning's, for two callbacks with the same state key
                raise InputError(f"trainer: {error}") from error
            raise

    def _new_run(self) -> Run:
        """Return a new run. The first process creates its folder and sends the name to the others; see WriteResults."""
        creates_folder = is_rank_zero() and not self.is_dry_run
        if self._named_run is None:
            run = Run.new(Path(self.options.runs_dir), self.options.experiment, creates_folder)
        else:
            run = self._named_run
            if creates_folder and not run.create_folder():
                raise InputError(f"{run.folder} already exists")
        if creates_folder:
            run.lock()
        return run

    # Commands

    def fit(self, **kwargs: Any) -> None:
        """Train. After a user error before the first step, undo the attempt."""
        assert self.run is not None
        with undo_failed_attempt(self.run, self.resolved, self.trainer):
            if self.trainer.is_global_zero:
                if not self.is_dry_run:
                    record_attempt(self.run, self.resolved, self.datamodule, self.options.seed_everything)
                print_start(self.model, self.datamodule, self.resolved, self.is_dry_run)
            try:
                self.trainer.fit(**kwargs)
            except RuntimeError as error:
                # A custom LightningModule may not log the metric.
                if str(error).startswith("Early stopping conditioned on metric"):
                    raise InputError(f"monitor: {error}") from error
                raise

    def after_fit(self) -> None:
        """Test the best checkpoint, then store and print the results."""
        assert self.run is not None
        best = self.run.best if self.run.best.exists() and not self.is_dry_run else None
        test_metrics = None
        if self.options.test_after_fit and has_test(self.model, self.datamodule):
            self.trainer.test(self.model, self.datamodule, ckpt_path=best, weights_only=True, verbose=False)
            test_metrics = logged_metrics(self.trainer)
            if self.trainer.is_global_zero and not self.is_dry_run:
                store_test_metrics(self.run, self.trainer, self.datamodule, test_metrics)
        if not self.trainer.is_global_zero:
            return
        if self.is_dry_run:
            batches = int(self.options.trainer.fast_dev_run)
            amount = "one batch" if batches == 1 else f"{batches} batches"
            print(f"fast_dev_run: ran on {amount} of each split; nothing was kept")
            return
        baselines = {}
        if test_metrics is not None:
            baselines = store_baselines(self.run, self.model, self.datamodule, self.options.baselines)
        calibrate_after_test(self.run, self.trainer, self.options.calibrate)
        if self.options.store_data:  # which orders the mistakes by their calibrated probabilities, like the report
            store_data(self.run, self.model, self.datamodule)
        report_fit(
            self.run,
            self.trainer,
            self.datamodule,
            self.options.wandb,
            best,
            test_metrics,
            baselines,
            self.options.report,
        )

    def validate(self, **kwargs: Any) -> None:
        """Evaluate on the validation split."""
        self._report_data()
        self.trainer.validate(**kwargs, verbose=False)
        self._report_evaluation()

    def test(self, **kwargs: Any) -> None:
        """Evaluate on the test split."""
        self._report_data()
        self.trainer.test(**kwargs, verbose=False)
        self._report_evaluation()
        if self.trainer.is_global_zero and self.run is not None:
            print_calibration(calibrate_after_test(self.run, self.trainer, self.options.calibrate))
        if self.run is not None and self.options.store_data and has_recorded(self.trainer):
            store_data_again(self.run, self.model, self.datamodule)

    def predict(self, **kwargs: Any) -> None:
        """Write predictions.csv."""
        self._report_data()
        if isinstance(self.model, tasks.Segmenter) and self.resolved.output is not None and not self.is_dry_run:
            check_mask_folder(self.resolved.output, self.options.overwrite)
        self.trainer.predict(**kwargs, return_predictions=False)  # they are written, and need not be kept
        if self.trainer.is_global_zero and not self.is_dry_run:
            print(printable(f"predictions: {self.resolved.predictions}"))
            if isinstance(self.model, tasks.Segmenter) and self.resolved.predictions is not None:
                print(printable(f"masks and overlays: {self.resolved.predictions.with_suffix('')}"))

    def _report_data(self) -> None:
        if self.trainer.is_global_zero:
            report_data(self.datamodule, self.resolved.split_record, bool(self.options.get("split_again")))

    def _report_evaluation(self) -> None:
        if self.trainer.is_global_zero:
            report_evaluation(self.command, self.resolved, self.trainer, self.datamodule)
