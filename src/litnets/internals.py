"""Every private name of Lightning, torch and torchmetrics that this package touches.

Private names may change in any release. They are collected here, each with the reason why no public name would do, and
`tests/test_internals.py` tests each of them, so that a new version breaks one test with a clear message instead of a
training run. `tests/test_internals.py` also refuses private names of other packages anywhere else in the source.

Written for lightning 2.6.6, torch 2.15 and torchmetrics 1.9.
"""

from argparse import SUPPRESS
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import jsonargparse
import torch
from jsonargparse import ArgumentParser, Namespace, _loaders_dumpers, _paths
from jsonargparse.typing import Path_fr
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.core.optimizer import _init_optimizers_and_lr_schedulers
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins import Precision
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import _restricted_classmethod
from torch import Tensor, nn
from torch.export import _patches
from torch.optim import Optimizer
from torchmetrics import Metric

# The training epoch loop and its data fetchers. Lightning has had no public way to customize a loop since 2.0 (#16445).
DataFetcher = _DataFetcher
PrefetchDataFetcher = _PrefetchDataFetcher
TrainingEpochLoop = _TrainingEpochLoop

# What LightningModule.configure_optimizers returns (an optimizer, a dict, lists ...), as lists of optimizers and
# scheduler configurations. Needed to rebuild them when a run is resumed with other settings.
init_optimizers_and_lr_schedulers = _init_optimizers_and_lr_schedulers

# Decorates `load_from_checkpoint`, as in Lightning: a class method that raises an error if it is called on an instance.
restricted_classmethod = _restricted_classmethod


def is_rank_zero() -> bool:
    """Return whether this is the only process, or the first of several. Lightning only has a decorator for it."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]


# The epoch loop


def logging_step(loop: TrainingEpochLoop) -> int:
    """Return the step that the loggers get. Lightning does not save it in checkpoints."""
    return loop._batches_that_stepped


def set_logging_step(loop: TrainingEpochLoop, step: int) -> None:
    """Set the step that the loggers get."""
    loop._batches_that_stepped = step


def skips_next_validation(loop: TrainingEpochLoop) -> bool:
    """Whether a restored loop skips the next validation because it has run already."""
    return loop._skip_next_val


def is_last_batch_ready(loop: TrainingEpochLoop) -> bool:
    """Whether the last batch of the epoch has been fetched."""
    return loop._num_ready_batches_reached()


# The Trainer


def logger_connector(trainer: Trainer) -> Any:
    """Return the object that collects the values of `self.log`. A loop must tell it when a batch starts and ends."""
    return trainer._logger_connector


def transfer_hook(trainer: Trainer, name: str) -> Callable[..., Any]:
    """Return a hook of the batch transfer, such as `transfer_batch_to_device`.

    It is the DataModule's if the DataModule overrides it, otherwise the LightningModule's. Lightning looks it up again
    for every batch.
    """
    selector: Any = trainer._data_connector._datahook_selector
    hook: Callable[..., Any] = getattr(selector.get_instance(name), name)
    return hook


def validates_by_the_clock(trainer: Trainer) -> bool:
    """Whether `val_check_interval` is a duration."""
    return trainer._val_check_time_interval is not None  # type: ignore[attr-defined]


def dump_checkpoint(trainer: Trainer) -> dict[str, Any]:
    """Return the content of a checkpoint without writing it, which `Trainer.save_checkpoint` cannot do."""
    content: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint()
    return content


class CheckpointConnector(_CheckpointConnector):
    """The part of the Trainer that restores a checkpoint.

    A subclass may override `restore_model`, `restore_datamodule`, `restore_callbacks` and `restore_training_state`, and
    wrap all of them in a context by overriding `restoring`.
    """

    @property
    def content(self) -> dict[str, Any]:
        """The content of the checkpoint; empty if none is being restored."""
        return self._loaded_checkpoint

    def restoring(self, path: str | Path | None) -> AbstractContextManager[None]:
        """Return the context in which a checkpoint is restored."""
        return nullcontext()

    def _restore_modules_and_callbacks(self, checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
        with self.restoring(checkpoint_path):
            super()._restore_modules_and_callbacks(checkpoint_path, weights_only)

    def restore_training_state(self) -> None:
        with self.restoring(self._ckpt_path):
            self.check_training_state()
            super().restore_training_state()

    def check_training_state(self) -> None:
        """Called before optimizers, schedulers and loops are restored."""


def set_checkpoint_connector(trainer: Trainer, connector: CheckpointConnector) -> None:
    """Replace the connector with which a Trainer restores checkpoints. The Trainer has no argument for it."""
    trainer._checkpoint_connector = connector


def find_unused_parameters(strategy: Strategy) -> None:
    """Let DDP accept parameters without gradients. This has no effect on strategies for one device.

    Must be called before the strategy wraps the model. A Trainer has no other way to change an argument of a strategy
    that it has built by name.
    """
    if isinstance(strategy, DDPStrategy):
        strategy._ddp_kwargs["find_unused_parameters"] = True


def request_stop(trainer: Trainer) -> None:
    """Stop the loops as SIGTERM does: once the batch or epoch is complete, validation and logging included. No hook is
    called after that."""
    trainer._signal_connector.received_sigterm = True


def clip_gradients(
    precision: Precision, module: LightningModule, optimizer: Optimizer, value: float | None, algorithm: Any
) -> None:
    """Clip gradients as the Trainer does, through the LightningModule's hook."""
    precision._clip_gradients(module, optimizer, value, gradient_clip_algorithm=algorithm)


class EpochDescription:
    """A mixin for RichProgressBar, which describes the epoch in front of the bar."""

    def describe_epoch(self, epoch: int) -> str:
        """Return the description of an epoch, counted from 0."""
        bar: Any = super()
        return str(bar._get_train_description(epoch))

    def _get_train_description(self, current_epoch: int) -> str:
        return self.describe_epoch(current_epoch)


class LearningRateColumns:
    """A mixin for LearningRateMonitor, which decides under which names the learning rates are logged."""

    def columns(self, trainer: Trainer, interval: str) -> dict[str, float]:
        """Return the values that are due at an interval (`step`, `epoch` or `any`), by name."""
        monitor: Any = super()
        values: dict[str, float] = monitor._extract_stats(trainer, interval)
        return values

    def _extract_stats(self, trainer: Trainer, interval: str) -> dict[str, float]:
        return self.columns(trainer, interval)


class EarlyStoppingCheck:
    """A mixin for EarlyStopping whose check a subclass may extend. The hooks of EarlyStopping decide when it is due."""

    def check(self, trainer: Trainer) -> None:
        """Compare the monitored metric with the best value so far, and stop the training if it is time."""
        early_stopping: Any = super()
        early_stopping._run_early_stopping_check(trainer)

    def _run_early_stopping_check(self, trainer: Trainer) -> None:
        self.check(trainer)


class CurrentHook:
    """A context in which `self.log` behaves as if it were called from `hook`, on which its defaults depend.

    It is a class because a generator-based context manager is slower. It writes into `vars(module)` because
    `Module.__setattr__` searches all parameters first.
    """

    def __init__(self, module: LightningModule, hook: str) -> None:
        self.attributes, self.hook = vars(module), hook

    def __enter__(self) -> None:
        self.before = self.attributes["_current_fx_name"]
        self.attributes["_current_fx_name"] = self.hook

    def __exit__(self, *error: object) -> None:
        self.attributes["_current_fx_name"] = self.before


# The command line and W&B


def subcommand_parser(cli: LightningCLI, command: str) -> LightningArgumentParser:
    """Return the parser of one command of LightningCLI. It can dump the configuration and list the options."""
    return cli._parser(command)


def tidy_help(parser: Any, linked_attributes: Iterable[str]) -> None:
    """Leave out of the help what a user cannot give: links, and arguments of the model that the data fill in.

    Args:
        parser: The parser of a command, with all options and links.
        linked_attributes: The arguments of the model.
    """
    for link in parser._links_group._group_actions:
        link.help = SUPPRESS
    model_help: Any = parser._option_string_actions["--model.help"]
    model_help.sub_add_kwargs = {**model_help.sub_add_kwargs, "skip": set(linked_attributes)}
    for name in ("model", "data"):
        parser.groups[name].title = f"The {name}"  # the class, or the beginning of its docstring


def subparsers(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """Return the parsers of the commands."""
    choices: dict[str, ArgumentParser] = parser._subcommands_action.choices  # type: ignore[union-attr]
    return choices


def set_yaml_loader(loader: type) -> None:
    """Let jsonargparse load YAML with a class of PyYAML's kind, in files and in strings inside them.

    `jsonargparse.set_loader` only replaces the function that loads files.
    """
    _loaders_dumpers.yaml_default_loader = loader  # type: ignore[assignment]


def read_configs_as_utf8() -> None:
    """Let jsonargparse read configurations as UTF-8 in every locale, with or without a byte order mark."""
    _paths.Path.read_text = _read_utf8  # type: ignore[assignment, method-assign]


_read_text = _paths.Path.read_text


def _read_utf8(path: Any) -> str:
    if path.is_url or path.is_fsspec or path._std_io:
        return _read_text(path)
    return Path(path.absolute).read_text(encoding="utf-8-sig")


class _CommandLineString(str):
    """A value of the command line, in which jsonargparse may look for YAML."""

    __slots__ = ()


class _ClassArgument(_CommandLineString):
    """The same for an argument of a class, whose own parser looks for YAML."""

    __slots__ = ()


_typehints: Any = jsonargparse._typehints  # it has no annotations
_load_string, _call_action = _typehints.parse_value_or_config, _typehints.ActionTypeHint.__call__
_sort_subtypes = _typehints.sort_subtypes_for_union


def keep_strings() -> None:
    """Let jsonargparse look for YAML only in values of the command line, and there once.

    By itself it looks in every string, whenever it parses, dumps or instantiates one: a quoted "null" in a file would
    become None, a "1e3" in a dict 1000.0, and `--data.separator "#"`, a YAML comment, None.
    """
    _typehints.parse_value_or_config = _load_command_line_string
    _typehints.ActionTypeHint.__call__ = _call_with_marked_string
    _typehints.sort_subtypes_for_union = _sort_subtypes_for_string


def _load_command_line_string(value: Any, enable_path: bool = True, simple_types: bool = False) -> tuple[Any, Any]:
    is_nested = isinstance(value, _typehints.NestedArg)  # --key.part=value
    text = value.val if is_nested else value
    if is_nested and isinstance(text, _ClassArgument):
        return value, None
    if not isinstance(text, _CommandLineString):  # it comes from a file, but may name another one
        is_path = enable_path and type(value) is str and _is_readable(value)
        return _load_string(value, True, simple_types) if is_path else (value, None)
    loaded, path = _load_string(value._replace(val=str(text)) if is_nested else str(text), enable_path, simple_types)
    content = loaded.val if is_nested else loaded
    is_comment = content is None and text != "null"
    is_dashed = isinstance(content, list) and path is None and not text.lstrip().startswith("[")
    return (value, None) if isinstance(content, str) or is_comment or is_dashed else (loaded, path)


def _call_with_marked_string(action: Any, *args: Any, **kwargs: Any) -> Any:
    if not args:
        return _call_action(action, **kwargs)
    parser, namespace, value, option = args
    takes_class = action.is_subclass_typehint(action, all_subtypes=False, also_lists=True, also_closed=True)
    mark = _ClassArgument if takes_class and action.get_option_string_base(option) else _CommandLineString
    _call_action(action, parser, namespace, list(map(mark, value)) if isinstance(value, list) else mark(value), option)
    namespace[action.dest] = _without_marks(namespace[action.dest])
    return None


def _sort_subtypes_for_string(subtypes: Any, value: Any, *args: Any) -> Any:
    """As jsonargparse sorts them, but a quoted string is not a number, even if the annotation names a number first."""
    ordered = list(_sort_subtypes(subtypes, value, *args))
    if type(value) is str and str in ordered:
        first_number = next((i for i, kind in enumerate(ordered) if kind in (bool, int, float)), len(ordered))
        if ordered.index(str) > first_number:
            ordered.remove(str)
            ordered.insert(first_number, str)
    return ordered


def _is_readable(path: str) -> bool:
    try:
        Path_fr(path)
    except (TypeError, ValueError):  # ValueError: a NUL in the name
        return False
    return True


def _without_marks(value: Any) -> Any:
    if isinstance(value, _CommandLineString):
        return str(value)
    if isinstance(value, list):
        return [_without_marks(item) for item in value]
    if isinstance(value, (dict, Namespace)):
        for key, item in vars(value).items() if isinstance(value, Namespace) else list(value.items()):
            value[key] = _without_marks(item)
    return value


def has_wandb_run(logger: WandbLogger) -> bool:
    """Whether the logger has started its W&B run, in this process or before this process was spawned."""
    return logger._experiment is not None or getattr(logger, "_attach_id", None) is not None


def set_wandb_run(logger: WandbLogger, run: Any) -> None:
    """Set the W&B run of a logger. `WandbLogger(experiment=...)` would need it before training starts."""
    logger._experiment = run


# torch and torchmetrics


class ConversionHook(nn.Module):
    """A module that takes part in its own conversion to a device or dtype.

    `.to()`, `.half()` and Lightning's true precisions all convert a module through the private `Module._apply`.
    """

    def on_convert(self, convert: Callable[[], None]) -> None:
        """Called in place of the conversion; call `convert` to perform it."""
        convert()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.on_convert(lambda: _convert(super(ConversionHook, self), fn, recurse))
        return self


def _convert(module: Any, fn: Callable[[Tensor], Tensor], recurse: bool) -> None:
    module._apply(fn, recurse)


def disable_amp_scaling_in_step(optimizer: Optimizer) -> None:
    """Make Lightning unscale float16 gradients before a fused optimizer gets them, as for all other optimizers.

    A fused optimizer offers to unscale them itself, and then Lightning refuses to clip gradients under mixed precision
    (#21435).
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]


def set_update_count(metric: Metric, count: int) -> None:
    """Set how often a metric was updated. With a count of 0, torchmetrics treats the restored state as empty."""
    metric._update_count = count


# Search


def trial_id(trial: Any) -> int:
    """Return the number by which Optuna's storage knows a trial.

    `optuna.trial.Trial`, which is needed to report to a trial that an earlier process began, takes this number. Its
    public `number` counts within a study, while a storage may hold several.
    """
    number: int = trial._trial_id
    return number


# Export


@contextmanager
def recurrent_layers_as_nodes() -> Iterator[None]:
    """Let torch.export keep recurrent layers as nodes of the graph, for sequences of any length.

    Otherwise torch unrolls them to infer the shapes of their outputs, which fixes the number of steps (torch 2.15). It
    has context managers that replace the unrolled layer by a loop, and `torch.onnx.export` enters those of LSTM and
    GRU. Here they use functions that return only the shapes, because the loop is traced slowly, with warnings.
    """

    def recurrent(x: Tensor, hx: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
        *_, bidirectional, _ = options
        return x.new_empty(*x.shape[:2], hx.shape[2] * (2 if bidirectional else 1)), torch.empty_like(hx)

    def lstm(x: Tensor, hx: Sequence[Tensor], *options: Any) -> tuple[Tensor, Tensor, Tensor]:
        return *recurrent(x, hx[0], *options), torch.empty_like(hx[1])

    loops = _patches.lstm_while_loop_impl, _patches.gru_while_loop_impl
    _patches.lstm_while_loop_impl, _patches.gru_while_loop_impl = lstm, recurrent
    try:
        with (
            _patches.register_lstm_while_loop_decomposition(),
            _patches.register_gru_while_loop_decomposition(),
            _patches._register_rnn_while_loop_decomposition(torch.ops.aten.rnn_tanh.input, recurrent),
        ):
            yield
    finally:
        _patches.lstm_while_loop_impl, _patches.gru_while_loop_impl = loops
