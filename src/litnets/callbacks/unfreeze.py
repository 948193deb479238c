"""Unfreeze: train the head of a network first, and further stages in later epochs."""

from collections.abc import Mapping
from typing import TypeVar

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from litnets.errors import InputError, did_you_mean
from litnets.internals import find_unused_parameters
from litnets.nets.stages import Stage, stages
from litnets.safety.escaping import printable
from litnets.tasks import Task

_REST = "rest"  # in place of a name: all other stages
_MAX_NAMES = 6  # in a printed line

T = TypeVar("T")


class Unfreeze(Callback):
    """Train the head of a network first, and further stages in later epochs.

        litnets fit --config configs/digits_cnn.yaml --trainer.callbacks Unfreeze \\
            --trainer.callbacks.schedule "{head: 1, stages.1: 3, rest: 5}" \\
            --trainer.callbacks.lr_factors "{head: 1, rest: 0.1}"

    A frozen stage gets no gradients and no weight decay, and its batch normalization uses the running statistics
    without updating them. What is frozen depends on the epoch alone, so a resumed run does not differ from an
    uninterrupted one. `litnets.nets.stages.stages` defines the stages of a network.

    Args:
        schedule: Maps the name of a stage to the first epoch, counted from 1, in which it is trained; `rest` means all
            other stages, and a stage without an epoch is never trained. Or a number N: one more stage is trained every
            N epochs, from the head down. Default: `{head: 1, rest: 2}`.
        lr_factors: Factor of the learning rate by name of the stage, or `rest`. Default: 1 for all stages.
        keep_statistics: Whether batch normalization keeps its running statistics even in stages that are trained. Set
            it for pretrained weights and small batches, whose statistics differ from those of the pretraining.

    Raises:
        InputError: An epoch below 1, or a factor that is not above 0. When training starts: a name that is not a stage,
            no stage for the first epoch, a network with a single stage, or a strategy other than `ddp`.
    """

    def __init__(
        self,
        schedule: dict[str, int] | int | None = None,
        lr_factors: dict[str, float] | None = None,
        keep_statistics: bool = False,
    ) -> None:
        self.schedule = {"head": 1, _REST: 2} if schedule is None else schedule
        self.lr_factors = lr_factors or {}
        self.keep_statistics = keep_statistics
        if isinstance(self.schedule, int) and self.schedule < 1:
            raise InputError(f"Unfreeze: schedule: expected at least 1 epoch, got {self.schedule}")
        for name, epoch in self.schedule.items() if isinstance(self.schedule, dict) else ():
            if epoch < 1:
                raise InputError(f"Unfreeze: schedule: {name}: expected an epoch, counted from 1, got {epoch}")
        for name, factor in self.lr_factors.items():
            if not factor > 0:
                raise InputError(
                    f"Unfreeze: lr_factors: {name}: expected a number above 0, got {factor}; "
                    "to keep a stage frozen, leave it out of the schedule"
                )
        self._parts: list[_Part] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            kind = type(trainer.strategy).__name__
            raise InputError(f"Unfreeze: expected --trainer.strategy auto or ddp, got {kind}")
        # DDP registers all parameters before any is frozen, and would wait for the gradients of the frozen ones.
        find_unused_parameters(trainer.strategy)
        all_stages = stages(pl_module.net if isinstance(pl_module, Task) else pl_module)
        names = [one.name for one in all_stages]
        if isinstance(pl_module, Task):
            # A factor for every stage makes the optimizer group the parameters by stage, which it needs even if all
            # factors are 1: torch's fused SGD fails if only some parameters of a group have a momentum.
            pl_module.lr_factors = dict.fromkeys(names, 1.0) | _by_stage("lr_factors", self.lr_factors, names)
        elif self.lr_factors:
            kind = type(pl_module).__name__
            raise InputError(f"Unfreeze: lr_factors: {kind} is not a litnets task and builds its own optimizer")
        first_epochs = self._first_epochs(names)
        self._parts = [_Part(one, first_epochs.get(one.name)) for one in all_stages]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Freeze no earlier, because the optimizer has to be built for all parameters. Do not rely on
        # on_train_epoch_start alone, because it is not called for an epoch that is resumed.
        self._freeze(trainer.current_epoch)
        if trainer.is_global_zero:
            for line in self._describe(trainer.max_epochs):
                print(printable(line), flush=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._freeze(trainer.current_epoch)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._release(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._release(pl_module)

    def _freeze(self, epoch: int) -> None:
        for part in self._parts:
            is_trained = part.first_epoch is not None and epoch + 1 >= part.first_epoch
            part.train(is_trained, updates_statistics=is_trained and not self.keep_statistics)

    def _release(self, module: LightningModule) -> None:
        """Leave no trace in the model, which may be trained again without this callback."""
        for part in self._parts:
            part.train(True, updates_statistics=True)
        self._parts = []
        if isinstance(module, Task):
            module.lr_factors = {}

    def _first_epochs(self, names: list[str]) -> dict[str, int]:
        """Return the first epoch of each stage that is trained, by its name."""
        if len(names) == 1:
            raise InputError("Unfreeze: the network has a single stage, so nothing could be frozen; leave Unfreeze out")
        if isinstance(self.schedule, int):
            return {name: 1 + depth * self.schedule for depth, name in enumerate(names)}
        first_epochs = _by_stage("schedule", self.schedule, names)
        if min(first_epochs.values(), default=0) != 1:
            raise InputError("Unfreeze: schedule: no stage is trained in epoch 1; add one, such as head: 1")
        return first_epochs

    def _describe(self, max_epochs: int | None) -> list[str]:
        """Return a line on the epoch from which each stage is trained, and a note on stages that come too late."""
        from_epoch: dict[int, list[str]] = {}
        for part in self._parts:
            if part.first_epoch is not None:
                from_epoch.setdefault(part.first_epoch, []).append(part.name)
        phases = [f"from epoch {epoch}: {_shorten(names)}" for epoch, names in sorted(from_epoch.items())]
        if never := [part.name for part in self._parts if part.first_epoch is None]:
            phases.append(f"never: {_shorten(never)}")
        lines = [f"trained {'; '.join(phases)}"]
        if max_epochs is not None and max_epochs >= 0:
            too_late = [name for epoch, names in from_epoch.items() if epoch > max_epochs for name in names]
            if too_late:
                lines.append(f"note: not trained, because --trainer.max_epochs is {max_epochs}: {_shorten(too_late)}")
        return lines


class _Part:
    """The parts of a stage that can be frozen: parameters that need a gradient, and running statistics.

    Args:
        stage: The stage.
        first_epoch: The first epoch in which it is trained, counted from 1; None: it never is.
    """

    def __init__(self, stage: Stage, first_epoch: int | None) -> None:
        self.name, self.first_epoch = stage.name, first_epoch
        self.parameters = [parameter for parameter in stage.parameters if parameter.requires_grad]
        self.norms = [module for module in stage.modules if isinstance(getattr(module, "running_mean", None), Tensor)]

    def train(self, mode: bool, updates_statistics: bool) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(mode)
        for norm in self.norms:
            norm.train(updates_statistics)


def _by_stage(option: str, values: Mapping[str, T], names: list[str]) -> dict[str, T]:
    """Return the value of each stage that has one, with `rest` resolved."""
    for name in values:
        if name not in (*names, _REST):
            raise InputError(
                f"Unfreeze: {option}: the network has no stage '{name}'{did_you_mean(name, names)} "
                f"(choose from: {', '.join(names)}, {_REST})"
            )
    defaults = dict.fromkeys(names, values[_REST]) if _REST in values else {}
    return {**defaults, **{name: value for name, value in values.items() if name != _REST}}


def _shorten(names: list[str]) -> str:
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
