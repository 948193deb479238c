"""The commands: a LightningCLI in which any model may meet any data. The only place where data and tasks meet."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentError, get_loader, set_loader
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from litnets import data, tasks  # noqa: F401  (imported so that their classes are known by their bare names)
from litnets.callbacks import EMA, Lookahead  # noqa: F401  (likewise)
from litnets.cli.defaults import default_experiment, default_monitor, default_monitor_mode
from litnets.cli.error_messages import format_parser_error
from litnets.cli.preflight import check_monitor, check_saved_arguments, check_split, has_test
from litnets.errors import InputError
from litnets.former_names import update_class_paths
from litnets.runs.environment import environment
from litnets.runs.folder import Run
from litnets.runs.results import print_end, print_results, summarize
from litnets.tracking.figures import Figures
from litnets.tracking.loggers import default_loggers
from litnets.tracking.tensorboard import Graph, Histograms
from litnets.tracking.wandb_logger import (
    Gradients,
    WandbOptions,
    directions,
    log_final_results,
    resolve_wandb_mode,
    sync_commands,
    with_wandb,
    without_wandb,
)
from litnets.training.checkpoints.atomic_io import AtomicCheckpointIO
from litnets.training.checkpoints.loading import (
    check_fits,
    find_checkpoint,
    load_checkpoint,
    load_weights,
    usable_checkpoint,
)
from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.fast_loop import FastEpochLoop, disable_nvml_check
from litnets.training.non_finite import StopOnNonFinite
from litnets.training.predictions import PredictionsCSV
from litnets.training.progress import Bar, EpochSummary
from litnets.training.results_writer import WriteResults
from litnets.training.resume import loop_state
from litnets.training.resume.config_diff import (
    changes_optimization,
    changes_steps_per_epoch,
    check_changes,
    check_unfinished,
    diff_configs,
    stopped_early,
)
from litnets.training.resume.restore import RestoreTrainingState
from litnets.training.resume.save_on_interrupt import SaveOnInterrupt
from litnets.training.signals import Signals
from litnets.training.trainer import AutoTrainer, fastest_precision

# What data may state about themselves. Each is linked into the model's argument of the same name, if it has one.
LINKED_ATTRIBUTES = (
    "input_shape",
    "vocab_size",
    "num_classes",
    "class_names",
    "class_counts",
    "class_shares",
    "multilabel",
    "num_targets",
    "target_names",
    "target_mean",
    "target_std",
    "horizon",
    "channel_names",
    "channel_mean",
    "channel_std",
)

_load_yaml = get_loader("yaml")
# Every configuration passes through here, also those of runs that were made before the package was renamed.
set_loader("yaml", lambda text: _load_yaml(update_class_paths(text)), (yaml.YAMLError,))


class LitnetsCLI(LightningCLI):
    """`litnets fit|validate|test|predict`: Lightning's CLI with a run's folder, default callbacks and linked facts."""

    def __init__(self, args: ArgsType, signals: Signals, resume: Run | None = None) -> None:
        self.signals = signals
        self.run: Run | None = resume
        self._resuming = resume is not None
        self._changed: dict[str, tuple[Any, Any]] = {}
        self._state: dict[str, Any] | None = None  # where the run stands that is gone on with
        self._stopped: str | None = None  # why early stopping has ended it
        self.checkpoint: Path | None = None
        self._first = args[0] if isinstance(args, list) and args else None
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_class=AutoTrainer,
            save_config_callback=None,  # it writes where the logger does, not into the run's folder (#7679)
            seed_everything_default=42,
            trainer_defaults={
                "max_epochs": 20,
                "devices": 1,  # more devices make a larger batch, which is another experiment: to be asked for
                "enable_model_summary": False,  # `fit` says what it trains in a line
            },
            # Not exiting, errors reach `run`. Abbreviated options are refused: they would hide typos.
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False}
            | {name: {"exit_on_error": False, "allow_abbrev": False} for name in self.subcommands()},
            auto_configure_optimizers=False,  # tasks build their own
            load_from_checkpoint_support=False,  # hyperparameters are what __init__ was given: plain values
            args=args,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Lightning's four, without the arguments that are decided here. Where the first word names one of them, that
        one alone: each builds a parser with all options, in a tenth of a second."""
        known = {name: skip | {"verbose", "return_predictions"} for name, skip in LightningCLI.subcommands().items()}
        return {name: skip for name, skip in known.items() if name == self._first} or known

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What every command has beside the trainer, the model and the data."""
        for name, kind, default, text in (
            ("experiment", str | None, None, "Folder of the runs (default: the name of the first config)."),
            ("runs_dir", str, "checkpoints", "Folder of the experiments."),
            ("monitor", str | None, None, "Metric that says which epoch is best (default: the task's own)."),
            ("monitor_mode", Literal["min", "max"] | None, None, "What is best for a monitor of your own."),
            ("test_after_fit", bool, True, "Whether fit tests the best checkpoint when it is done."),
            ("init_from", str | None, None, "Checkpoint whose weights a new run starts with (fine-tuning)."),
            ("init_partial", bool, False, "Leave out the parts of --init_from that do not fit."),
            (
                "figures",
                bool | None,
                None,
                "Whether a test's confusion matrix, ROC and PR curves go to TensorBoard and W&B "
                "(default: where matplotlib is installed, or W&B draws them).",
            ),
            ("histograms", bool, False, "Whether those of weights and gradients go to TensorBoard, once an epoch."),
        ):
            parser.add_argument(f"--{name}", type=kind, default=default, help=text)
        parser.add_class_arguments(WandbOptions, "wandb")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.add_lightning_class_args(LearningRateMonitor, "lr_monitor")
        parser.set_defaults({"early_stopping.patience": 10})
        for callback in ("checkpoint", "early_stopping"):
            parser.link_arguments(("monitor", "model"), f"{callback}.monitor", default_monitor)
            parser.link_arguments(("monitor", "monitor_mode", "model"), f"{callback}.mode", default_monitor_mode)
        for fact in LINKED_ATTRIBUTES:
            parser.link_arguments(
                "data", f"model.init_args.{fact}", lambda source, fact=fact: self._fact(source, fact), "instantiate"
            )

    def _fact(self, source: LightningDataModule, fact: str) -> Any:
        """What the data state; for new samples (`predict_path`) what the checkpoint's data did, whose files may be
        gone by now."""
        if (
            self.command == "predict"
            and self._content is not None
            and getattr(source, "predict_path", None) is not None
        ):
            if type(source).__qualname__ not in self._content:
                kind = type(source).__name__
                raise InputError(
                    f"checkpoint {self.checkpoint} was not trained on {kind}, and cannot tell how to read new data"
                )
            if "hyper_parameters" in self._content:  # a fact that is not in them is none of the model's arguments
                return self._content["hyper_parameters"].get(fact)
        return getattr(source, fact, None)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Lightning's, without its warning for arguments given from Python, and keeping back the checkpoint's path:
        Lightning would let the hyperparameters in the checkpoint beat the command line, and say nothing."""
        try:
            self.config = parser.parse_args(args)  # type: ignore[arg-type]
        except ArgumentError as error:
            raise InputError(
                format_parser_error(str(error), self._parser(min(self.subcommands())).get_defaults().keys())
            ) from error
        except (UnicodeDecodeError, OSError) as error:
            raise InputError(f"config: cannot be read: {error}") from error
        config = self.config[self.config.subcommand]
        self._given_checkpoint, config.ckpt_path = config.ckpt_path, None

    def before_instantiate_classes(self) -> None:
        """Settle the names: experiment, run, checkpoint."""
        self.command = str(self.subcommand)
        config = self.config[self.command]
        configs = [Path(path.relative) for path in config.get("config") or [] if path is not None]  # None: given inline
        if config.experiment is None:
            config.experiment = configs[0].stem if configs else default_experiment(config)
        stopping = config.get("early_stopping")
        if stopping and stopping.check_on_train_epoch_end is None and str(stopping.monitor).startswith("train"):
            stopping.check_on_train_epoch_end = True  # it is known then, and not after each validation
        if config.trainer.precision == "auto":
            config.trainer.precision = fastest_precision(config.trainer.accelerator)
        self._dry = bool(config.trainer.fast_dev_run)
        given = _as_list(config.trainer.logger)
        wandb_used = self.command == "fit" and not self._dry and given != [False]
        self._wandb_mode = resolve_wandb_mode(config.wandb.mode, given) if wandb_used else None
        self.dump = self._parser(self.command).dump(config, skip_unset=False)
        own = next((run for path in configs if (run := Run.from_config(path)) is not None), None)
        if self.command == "fit" and self.run is None and self._given_checkpoint is None:
            self.run = Run.requeued(Path(config.runs_dir), config.experiment)
            self._resuming = self.run is not None
        if self._resuming:
            assert self.run is not None
            if self._given_checkpoint not in (None, "last"):
                raise InputError(
                    f"resume goes on from {self.run.last}; for {self._given_checkpoint} there is `litnets fit "
                    "--init_from FILE`, a new run with its weights"
                )
            self.checkpoint = usable_checkpoint(self.run, self.run.last) if self.run.last.exists() else None
        else:
            self.checkpoint = find_checkpoint(self._given_checkpoint, own, self.command, self._dry)
        config.ckpt_path = None if self.checkpoint is None else str(self.checkpoint)
        if self.command != "fit":
            self.run = own or (None if self.checkpoint is None else Run.from_checkpoint(self.checkpoint))
        elif self._resuming or self._given_checkpoint == "last":
            self.run, self._resuming = self.run or own, True
            config.experiment = None if self.run is None else self.run.folder.parent.name
        if config.init_from is not None and (self.command != "fit" or self.checkpoint is not None):
            # A run's configuration may say where its weights began; its checkpoints hold what has become of them.
            if self.run is None or config.init_from != yaml.safe_load(self.run.config.read_text()).get("init_from"):
                raise InputError("--init_from starts a new run; it does not go with a checkpoint to go on from")
            config.init_from = None

    def instantiate_classes(self) -> None:
        """Build data, model and trainer. What cannot be built is an error of the configuration, not of the code."""
        content = self._content = None if self.checkpoint is None else load_checkpoint(self.checkpoint)
        if self._resuming and self.run is not None:
            self._prepare_resume(self.run, content)
        try:
            super().instantiate_classes()
        except (TypeError, ValueError, MisconfigurationException) as error:
            # jsonargparse wraps what a constructor said into what it tried itself; the first cause is the message.
            cause: BaseException = error
            while not isinstance(cause, InputError) and (earlier := cause.__cause__ or cause.__context__) is not None:
                cause = earlier
            raise InputError(str(cause)) from error
        if content is not None and self.checkpoint is not None:
            check_fits(self.checkpoint, content, self.model)
        if (start := self._get(self.config, "init_from")) is not None:
            print(load_weights(Path(start), self.model, self._get(self.config, "init_partial")))

    def _prepare_resume(self, run: Run, content: dict[str, Any] | None) -> None:
        """Find what has changed since, and whether anything is left to do."""
        if content is None:
            run.metrics.unlink(missing_ok=True)  # nothing was saved: the run starts from its beginning
            return
        state = self._state = loop_state.find_loop_state(content)
        if state is None:
            raise InputError(
                f"{self.checkpoint} does not say where its run stood; --init_from starts a new run with its weights"
            )
        self._changed = diff_configs(yaml.safe_load(update_class_paths(state["config"])), yaml.safe_load(self.dump))
        check_changes(self._changed, state)
        settings = self.config[self.command]
        self._stopped = stopped_early(content, self._changed, settings.early_stopping)
        check_unfinished(run, content, state, settings, self._stopped)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Lightning's, with the run's folder and what writes into it."""
        settings = self.config[self.command]
        config = {**self._get(self.config_init, "trainer"), **kwargs}
        callbacks, loggers = _as_list(config["callbacks"]), _as_list(config["logger"])
        if self.command == "fit":
            monitor = self._get(self.config, "checkpoint").monitor
            check_saved_arguments(self.model, self.datamodule)
            limits = config["limit_train_batches"], config["limit_val_batches"]
            check_monitor(self.model, self.datamodule, monitor, *limits)
        else:
            # The W&B run is that of the training; what is measured later is printed.
            loggers = without_wandb(loggers)
            check_split(self.datamodule, "val" if self.command == "validate" else "test")
        if self.run is None and self.command in ("fit", "predict"):
            # The first process makes the folder; the others learn its name from it (see WriteResults).
            claim = getattr(rank_zero_only, "rank", 0) == 0 and not self._dry
            self.run = Run.new(Path(settings.runs_dir), settings.experiment, claim)
        if self.command == "fit" and self.run is not None:
            loggers = self._loggers(loggers, self.run)
            callbacks = [
                RestoreTrainingState(
                    changes_optimization(self._changed),
                    changes_steps_per_epoch(self._changed),
                    self._stopped is not None,
                ),
                WriteResults(self.run),
                *callbacks,
                *self._default_callbacks(self.run, config, loggers),
            ]
            config["default_root_dir"] = config["default_root_dir"] or str(self.run.folder)
        elif self.command == "predict" and self.run is not None:
            callbacks = [WriteResults(self.run), *callbacks, *([] if self._dry else [PredictionsCSV(self.run)])]
        if config["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
            callbacks.append(Bar() if sys.stdout.isatty() else EpochSummary())
        config["plugins"] = _as_list(config["plugins"])
        if not any(isinstance(plugin, CheckpointIO) for plugin in config["plugins"]):
            config["plugins"].append(AtomicCheckpointIO())
        if getattr(self.datamodule, "shards_itself", False):
            config["use_distributed_sampler"] = False
        try:
            trainer = AutoTrainer(
                **{**config, "callbacks": callbacks, "logger": [one for one in loggers if one is not False] or False}
            )
            goes_on = hasattr(self.datamodule, "start_at")
            trainer.fit_loop.epoch_loop = FastEpochLoop(trainer, seeded=not goes_on)
            disable_nvml_check()
            return trainer
        except BaseException as error:
            if self.run is not None:
                self.run.discard_if_empty()
            if type(error) is RuntimeError:  # what Lightning says of callbacks that are there twice
                raise InputError(f"trainer: {error}") from error
            raise

    def fit(self, **kwargs: Any) -> None:
        """Lightning's. Of a new run that a mistake ends before its first epoch nothing stays behind."""
        try:
            self.trainer.fit(**kwargs)
        except (InputError, MisconfigurationException):
            begun = self.trainer.fit_loop.epoch_loop.total_batch_idx >= 0
            if self.run is not None and self.trainer.is_global_zero and not (begun or self._resuming):
                self.run.discard()
            raise
        except RuntimeError as error:
            if str(error).startswith("Early stopping conditioned on metric"):  # which a module of one's own may not log
                raise InputError(f"monitor: {error}") from error
            raise

    def validate(self, **kwargs: Any) -> None:
        """Lightning's, whose own table is replaced by ours."""
        self.trainer.validate(**kwargs, verbose=False)

    def test(self, **kwargs: Any) -> None:
        """Lightning's, whose own table is replaced by ours."""
        self.trainer.test(**kwargs, verbose=False)

    def before_fit(self) -> None:
        """Write down what is about to be run."""
        if self.run is None or not self.trainer.is_global_zero:
            return
        where = ""
        if not self._dry:
            seed = self._get(self.config, "seed_everything")
            self.run.add_attempt(self.dump, environment(seed))
            where = f" -> {self.run.folder}"
            if self._resuming:
                state = self._state or {"epoch": 0, "batch": 0}
                print(f"going on from epoch {state['epoch'] + 1}, batch {state['batch'] + 1}")
                for key, (before, now) in self._changed.items():
                    print(f"  {key}: {before} -> {now}")
        parameters = sum(p.numel() for p in self.model.parameters())
        on = f" on {type(self.datamodule).__name__}" if self.datamodule is not None else ""
        print(f"{type(self.model).__name__} ({parameters:,} parameters){on}{where}", flush=True)

    def after_fit(self) -> None:
        """Test the best checkpoint, write the figures and show them."""
        trainer, run = self.trainer, self.run
        assert run is not None
        settings = self.config[self.command]
        best = run.best if run.best.exists() and not self._dry else None
        tested = settings.test_after_fit and has_test(self.model, self.datamodule)
        metrics = {}
        if tested:
            trainer.test(self.model, self.datamodule, ckpt_path=best, weights_only=True, verbose=False)
            metrics = _values(trainer)
        if not trainer.is_global_zero:
            return
        if self._dry:
            print("fast_dev_run: every step ran once on a few batches; nothing was kept")
            return
        results = run.read_results()
        if tested:
            whole, classes = summarize(metrics)
            results = run.update_results(test=whole, test_per_class=classes)
            print_results("test, best checkpoint" if best else "test", metrics)
        log_final_results(trainer.loggers, settings.wandb, results, best)
        print_end(results, run.folder, run.configs[-1], sync_commands(trainer.loggers))

    def after_test(self) -> None:
        self._report()

    def after_validate(self) -> None:
        self._report()

    def after_predict(self) -> None:
        """Say where the predictions are."""
        if self.run is not None and self.trainer.is_global_zero and not self._dry:
            print(f"predictions: {self.run.predictions}")

    def _report(self) -> None:
        if self.trainer.is_global_zero:
            print_results(f"{self.command}, {self.checkpoint or 'untrained'}", _values(self.trainer))

    def _default_callbacks(self, run: Run, config: dict[str, Any], loggers: list[Logger]) -> list[Any]:
        checkpoint: Checkpoint = self._get(self.config_init, "checkpoint")
        checkpoint.run, checkpoint.config = run, self.dump
        if self._dry:
            config["enable_checkpointing"] = False  # Lightning would write last.ckpt all the same
        keep = config["enable_checkpointing"] is not False
        callbacks: list[Any] = [
            self._get(self.config_init, "early_stopping"),
            StopOnNonFinite(run),
            SaveOnInterrupt(run, self.signals, checkpoint if keep else None),
            *([checkpoint] if keep else []),
        ]
        if loggers:
            callbacks += [self._get(self.config_init, "lr_monitor"), Graph()]
        settings = self.config[self.command]
        callbacks += [Histograms()] if loggers and settings.histograms else []
        figures = settings.figures
        if figures is None:
            figures = self._wandb_mode is not None or find_spec("matplotlib") is not None
        callbacks += [Figures()] if loggers and figures else []
        callbacks += [Gradients()] if settings.wandb.gradients else []
        return callbacks

    def _loggers(self, given: list[Any], run: Run) -> list[Logger]:
        """Those of every run, or none by `--trainer.logger false`."""
        if given == [False]:
            return []
        # What was logged after the checkpoint will be logged again.
        again_from = self._state["logged_step"] if self._state else None
        loggers = default_loggers([one for one in given if isinstance(one, Logger)], run, again_from)
        if self._wandb_mode is None:
            return without_wandb(loggers)
        settings = self.config[self.command]
        checkpoint = self._get(self.config_init, "checkpoint")
        shown = {**yaml.safe_load(self.dump), "environment": environment(self._get(self.config, "seed_everything"))}
        best = directions(self.model, checkpoint.monitor, checkpoint.mode)
        named = _as_list(settings.trainer.logger)
        return with_wandb(loggers, named, settings.wandb, self._wandb_mode, run, shown, best)


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _values(trainer: Trainer) -> dict[str, float]:
    """The metrics of a test or a validation, which ran last."""
    return {name: value.item() for name, value in trainer.callback_metrics.items()}
