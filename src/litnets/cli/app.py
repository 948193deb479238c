"""The command line of a run: Lightning's CLI with a run folder, default callbacks, and links from data to model.

The only module that knows both data and tasks: any model may be combined with any data.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentError, Namespace, set_loader
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from litnets import data, tasks  # noqa: F401  (makes their classes available by their bare names)
from litnets.callbacks import EMA, Lookahead  # noqa: F401  (likewise)
from litnets.cli.config_loading import load_config
from litnets.cli.defaults import default_monitor, default_monitor_mode
from litnets.cli.error_messages import first_cause, format_parser_error
from litnets.cli.preflight import check_monitor, check_saved_arguments, check_split, check_training_split, has_test
from litnets.cli.reporting import changes_of, logged_metrics, print_data_changes, print_model, print_resume, report_fit
from litnets.cli.resolve_run import check_config_files, check_runs_dir, config_paths, fill_in_defaults, resolve_run
from litnets.cli.trainer_arguments import RunParts, trainer_arguments, wandb_mode_of
from litnets.cli.untrusted import check_linked_value, check_plain_arguments, check_run_config
from litnets.data.core.base import LINKED_ATTRIBUTES, ArrayDataModule
from litnets.data.core.split_record import SplitRecord
from litnets.errors import InputError
from litnets.internals import subcommand_parser
from litnets.runs.environment import environment
from litnets.runs.folder import Run
from litnets.runs.print_results import print_results
from litnets.safety.escaping import printable
from litnets.tracking.wandb_logger import WandbOptions
from litnets.training.assemble import install_epoch_loop
from litnets.training.checkpoints.loading import check_fits, load_weights
from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.fast_loop import disable_nvml_check
from litnets.training.signals import Signals
from litnets.training.trainer import AutoTrainer

# Options of every command, beside those of the trainer, the model and the data: name, type, default, help.
_OPTIONS: tuple[tuple[str, Any, Any, str], ...] = (
    ("experiment", str | None, None, "Folder of the runs (default: the name of the first config)."),
    ("runs_dir", str, "checkpoints", "Folder of the experiments."),
    ("monitor", str | None, None, "Metric that selects the best epoch (default: the task's)."),
    ("monitor_mode", Literal["min", "max"] | None, None, "Whether lower or higher values of --monitor are better."),
    ("test_after_fit", bool, True, "Test the best checkpoint after training."),
    ("init_from", str | None, None, "Checkpoint whose weights a new run starts with (fine-tuning)."),
    ("init_partial", bool, False, "Skip the parts of --init_from that do not fit the model."),
    (
        "figures",
        bool | None,
        None,
        "Log the confusion matrix, ROC and PR curves of a test to TensorBoard and W&B "
        "(default: if matplotlib is installed, or W&B draws them).",
    ),
    ("fast_loop", bool, True, "Train with a faster epoch loop; false uses Lightning's. The results are the same."),
    ("histograms", bool, False, "Log histograms of weights and gradients to TensorBoard, once an epoch."),
)

set_loader("yaml", load_config, (yaml.YAMLError,))


class LitnetsCLI(LightningCLI):
    """`litnets fit|validate|test|predict`: parse the options, build data, model and trainer, run the command.

    Args:
        args: The command, which comes first, and its options.
        signals: The signal handlers of the process.
        resume: The run to resume, for `litnets resume`.

    Example:
        >>> with Signals() as signals:  # doctest: +SKIP
        ...     model = LitnetsCLI(["fit", "--model", "MLPClassifier", "--data", "Digits"], signals).model
    """

    def __init__(self, args: list[str], signals: Signals, resume: Run | None = None) -> None:
        self.command = args[0] if args else ""
        self._args = args
        self.signals = signals
        self.run = resume  # the run folder that the command works on
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_class=AutoTrainer,
            save_config_callback=None,  # it writes to the logger's folder, not to the run folder (#7679)
            seed_everything_default=42,
            trainer_defaults={
                "max_epochs": 20,
                "devices": 1,  # more devices mean larger batches, which is another experiment
                "enable_model_summary": False,  # `fit` prints one line
            },
            # Errors reach `cli.main.run`. Abbreviated options are refused, because they would hide typos.
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False}
            | {name: {"exit_on_error": False, "allow_abbrev": False} for name in self.subcommands()},
            auto_configure_optimizers=False,  # tasks build their own
            load_from_checkpoint_support=False,  # checkpoints hold the arguments of __init__ as plain values
            args=args,
        )

    # Parser

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return Lightning's four commands and the arguments that are not options.

        If the first argument is one of them, return that one alone: each builds a parser of all options, which takes a
        tenth of a second.
        """
        skip = {"verbose", "return_predictions"}
        commands = {name: arguments | skip for name, arguments in LightningCLI.subcommands().items()}
        return {self.command: commands[self.command]} if self.command in commands else commands

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of every command and the links between them."""
        for name, kind, default, text in _OPTIONS:
            parser.add_argument(f"--{name}", type=kind, default=default, help=text)
        if self.command in ("test", "validate"):
            text = "Split the data again instead of keeping the split of the run."
            parser.add_argument("--split_again", action="store_true", help=text)
        parser.add_class_arguments(WandbOptions, "wandb")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.add_lightning_class_args(LearningRateMonitor, "lr_monitor")
        parser.set_defaults({"early_stopping.patience": 10})
        for callback in ("checkpoint", "early_stopping"):
            parser.link_arguments(("monitor", "model"), f"{callback}.monitor", default_monitor)
            parser.link_arguments(("monitor", "monitor_mode", "model"), f"{callback}.mode", default_monitor_mode)
        for name in LINKED_ATTRIBUTES:
            parser.link_arguments(
                "data",
                f"model.init_args.{name}",
                lambda datamodule, name=name: self._linked_value(datamodule, name),
                "instantiate",
            )

    def _linked_value(self, datamodule: LightningDataModule, name: str) -> Any:
        """Return the value of a linked attribute: the DataModule's, or the checkpoint's if the data have changed since
        the training, or are new samples (`predict_path`), whose training files may be gone."""
        self._keep_split(datamodule)
        content = self.resolved.checkpoint_content
        if content is not None and getattr(datamodule, "data_changes", None) and "hyper_parameters" in content:
            return content["hyper_parameters"].get(name)
        if self.command != "predict" or content is None or getattr(datamodule, "predict_path", None) is None:
            return getattr(datamodule, name, None)
        kind = type(datamodule)
        if kind.__qualname__ not in content:
            raise InputError(
                f"checkpoint {self.resolved.checkpoint} was not trained on {kind.__name__}, so it does not define how "
                "to read new data"
            )
        if "hyper_parameters" not in content:
            return getattr(datamodule, name, None)
        value = content["hyper_parameters"].get(name)  # the model has no argument for an attribute that is missing here
        check_linked_value(self.resolved.checkpoint, name, value)
        return value

    def _keep_split(self, datamodule: LightningDataModule | None) -> None:
        """Read the data of a run that is resumed or evaluated, with each sample in the split that it had."""
        record = self.split_record
        if not isinstance(datamodule, ArrayDataModule) or record is None or datamodule.recorded_split is not None:
            return
        if datamodule.predict_path is None and record.datamodule == type(datamodule).__name__:
            record.check_spec(datamodule.split_spec)
            datamodule.recorded_split = record
            datamodule.ensure_setup()

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the arguments and hold back `--ckpt_path`.

        Lightning would let the hyperparameters in the checkpoint override the command line, without a word.
        """
        check_config_files(self._args)
        try:
            self.config = parser.parse_args(args)  # type: ignore[arg-type]
        except ArgumentError as error:
            options = subcommand_parser(self, min(self.subcommands())).get_defaults().keys()
            raise InputError(format_parser_error(str(error), options)) from error
        except InputError:
            raise
        except (OSError, ValueError, RecursionError) as error:  # not UTF-8, or a number with thousands of digits
            raise InputError(f"config: cannot be read: {error}") from error
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
        """The same with the classes in them instantiated."""
        options: Namespace = self.config_init[self.command]
        return options

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing is written (`--trainer.fast_dev_run`)."""
        return bool(self.options.trainer.fast_dev_run)

    def before_instantiate_classes(self) -> None:
        """Resolve the defaults, the run and the checkpoint."""
        options = self.options
        check_plain_arguments(options)
        check_run_config(options, self._args, config_paths(options))
        fill_in_defaults(options)
        if self.command == "fit" and self.run is None:
            check_runs_dir(options, self._args)
        self.wandb_mode = wandb_mode_of(self.command, options)
        self.config_yaml = subcommand_parser(self, self.command).dump(options, skip_unset=False)
        self.resolved = resolve_run(self.command, options, self.config_yaml, self._ckpt_path, self.run)
        self.run = self.resolved.run
        self.split_record = self._load_split_record()
        options.ckpt_path = None if self.resolved.checkpoint is None else str(self.resolved.checkpoint)

    def _load_split_record(self) -> SplitRecord | None:
        """Return the split that the checkpoint was trained with, if its run has recorded it."""
        checkpoint = self.resolved.checkpoint
        run = self.run if checkpoint is None else Run.from_checkpoint(checkpoint) or self.run
        if run is None or not run.split.exists() or self.options.get("split_again"):
            return None
        return SplitRecord.load(run.split)

    def instantiate_classes(self) -> None:
        """Build data, model and trainer. A constructor that refuses its arguments is a user error."""
        try:
            super().instantiate_classes()
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise InputError(str(first_cause(error))) from error
        resolved = self.resolved
        if resolved.checkpoint is not None and resolved.checkpoint_content is not None:
            check_fits(resolved.checkpoint, resolved.checkpoint_content, self.model)
        if resolved.init_from is not None:
            report = load_weights(resolved.init_from, self.model, self.options.init_partial)
            if getattr(rank_zero_only, "rank", 0) == 0:
                print(printable(report))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer with the callbacks and loggers of the run."""
        config = {**self.built.trainer, **kwargs}
        self._check_before_start(config)
        if self.run is None and self.command in ("fit", "predict"):
            # The first process creates the folder and sends its name to the others (see WriteResults).
            creates_folder = getattr(rank_zero_only, "rank", 0) == 0 and not self.is_dry_run
            self.run = Run.new(Path(self.options.runs_dir), self.options.experiment, creates_folder)
            if creates_folder:
                self.run.lock()
        try:
            trainer = AutoTrainer(**self._trainer_arguments(config))
            install_epoch_loop(trainer, self.options.fast_loop, seeds_data=not hasattr(self.datamodule, "start_at"))
            disable_nvml_check()
            return trainer
        except BaseException as error:
            if self.run is not None:
                self.run.discard_if_empty()
            if type(error) is RuntimeError:  # Lightning's, for callbacks that are there twice
                raise InputError(f"trainer: {error}") from error
            raise

    def _check_before_start(self, config: dict[str, Any]) -> None:
        """Raise InputError for what would fail only after the first epoch, or leave nothing to evaluate."""
        self._keep_split(self.datamodule)  # unless a linked attribute has asked for it
        if self.command == "fit":
            check_saved_arguments(self.model, self.datamodule)
            monitor = self.options.checkpoint.monitor
            limits = config["limit_train_batches"], config["limit_val_batches"]
            check_monitor(self.model, self.datamodule, monitor, *limits)
        else:
            check_split(self.datamodule, "val" if self.command == "validate" else "test")
        if isinstance(self.datamodule, ArrayDataModule) and self.resolved.resume is not None:
            check_training_split(self.datamodule, self.resolved.resume)

    def _trainer_arguments(self, config: dict[str, Any]) -> dict[str, Any]:
        parts = RunParts(
            self.command,
            self.options,
            self.built,
            self.signals,
            run=self.run,
            resume=self.resolved.resume,
            config_yaml=self.config_yaml,
            wandb_mode=self.wandb_mode,
        )
        return trainer_arguments(config, parts, self.model, self.datamodule)

    def _environment(self) -> dict[str, Any]:
        return environment(self.options.seed_everything)

    # Commands

    def before_fit(self) -> None:
        """Record the attempt in the run folder and print what is trained."""
        if self.run is None or not self.trainer.is_global_zero:
            return
        with self._undo_failed_attempt():
            if not self.is_dry_run:
                self.run.add_attempt(self.config_yaml, self._environment())
                if self.resolved.resume is not None:
                    print_resume(self.resolved.resume)
                    print_data_changes(self.datamodule, is_resuming=True)
                elif isinstance(self.datamodule, ArrayDataModule):
                    self.datamodule.ensure_setup()
                    if self.datamodule.split_record is not None:
                        self.datamodule.split_record.save(self.run.split)
            print_model(self.model, self.datamodule, None if self.is_dry_run else self.run.folder)

    def fit(self, **kwargs: Any) -> None:
        """Train. What fails before the first step leaves no trace in the run folder."""
        with self._undo_failed_attempt():
            try:
                self.trainer.fit(**kwargs)
            except RuntimeError as error:
                if str(error).startswith("Early stopping conditioned on metric"):  # which a foreign module may not log
                    raise InputError(f"monitor: {error}") from error
                raise

    @contextmanager
    def _undo_failed_attempt(self) -> Iterator[None]:
        """Remove the folder of a new run, or the attempt to resume a run, if it fails before the first step."""
        try:
            yield
        except BaseException as error:
            if self.run is None or not self.trainer.is_global_zero or self.is_dry_run:
                raise
            if self.resolved.resume is not None:
                steps_before = (self.resolved.checkpoint_content or {}).get("global_step", 0)
                if self.trainer.global_step <= steps_before:
                    self.run.withdraw_attempt()
            elif isinstance(error, (InputError, MisconfigurationException, BrokenPipeError)):
                has_started = self.trainer.fit_loop.epoch_loop.total_batch_idx >= 0
                if not has_started:
                    self.run.discard()
            raise

    def validate(self, **kwargs: Any) -> None:
        """Validate without Lightning's table of results, which `after_validate` replaces."""
        self.trainer.validate(**kwargs, verbose=False)

    def test(self, **kwargs: Any) -> None:
        """Test without Lightning's table of results, which `after_test` replaces."""
        self.trainer.test(**kwargs, verbose=False)

    def after_fit(self) -> None:
        """Test the best checkpoint, then store and print the results."""
        assert self.run is not None
        best = self.run.best if self.run.best.exists() and not self.is_dry_run else None
        test_metrics = None
        if self.options.test_after_fit and has_test(self.model, self.datamodule):
            self.trainer.test(self.model, self.datamodule, ckpt_path=best, weights_only=True, verbose=False)
            test_metrics = logged_metrics(self.trainer)
        if not self.trainer.is_global_zero:
            return
        if self.is_dry_run:
            print("fast_dev_run: every step ran once on a few batches; nothing was kept")
        else:
            changes = changes_of(self.datamodule)
            report_fit(self.run, self.trainer, self.options.wandb, best, test_metrics, changes)

    def before_validate(self) -> None:
        """Print how the data have changed since the training."""
        self._print_data_changes()

    def before_test(self) -> None:
        """Print how the data have changed since the training."""
        self._print_data_changes()

    def before_predict(self) -> None:
        """Print how the data have changed since the training."""
        self._print_data_changes()

    def after_validate(self) -> None:
        """Print the results of a validation."""
        self._print_results()

    def after_test(self) -> None:
        """Print the results of a test."""
        self._print_results()

    def after_predict(self) -> None:
        """Print where the predictions are."""
        if self.run is not None and self.trainer.is_global_zero and not self.is_dry_run:
            print(printable(f"predictions: {self.run.predictions}"))

    def _print_results(self) -> None:
        if self.trainer.is_global_zero:
            title = f"{self.command}, {self.resolved.checkpoint or 'untrained'}"
            if changes := changes_of(self.datamodule):
                title += f"; data changed since the training: {changes}"
            print_results(title, logged_metrics(self.trainer))

    def _print_data_changes(self) -> None:
        if not self.trainer.is_global_zero:
            return
        print_data_changes(self.datamodule)
        record, kind = self.split_record, type(self.datamodule).__name__
        if record is not None and record.datamodule != kind and not getattr(self.datamodule, "predict_path", None):
            print(f"data: the split of the run is one of {record.datamodule}, so {kind} does not use it", flush=True)
        if self.options.get("split_again"):
            print("data: split again; these samples may have been trained on", flush=True)
