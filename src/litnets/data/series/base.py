"""Time series to forecast: windows cut from one tensor, a CSV of one's own, and the ETT sets."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.base import ArrayDataModule, check_new_shape
from litnets.data.core.batching import ArrayDataset
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.series.reading import read_series
from litnets.errors import InputError

Stretch = tuple[int, int]  # of a series: its first step, and the first behind it


class SeriesWindows(ArrayDataset):
    """Every stretch of `look_back + horizon` steps of a series: the first are the input, the rest, strictly after them,
    the target. The windows are views of `values`; nothing is copied before a batch is cut.

    Args:
        values: The series, `(time, channels)`.
        look_back: Steps of an input, `(look_back, channels)`.
        horizon: Steps of a target, `(horizon, channels)`.
        indices: First step of each window of the split; None for all windows.
    """

    def __init__(self, values: Tensor, look_back: int, horizon: int, indices: Tensor | None = None) -> None:
        windows = values.unfold(0, look_back + horizon, 1).transpose(1, 2)  # (windows, look_back + horizon, channels)
        super().__init__(windows[:, :look_back], windows[:, look_back:], indices)


class ChannelScale:
    """Mean and standard deviation of each channel of the training split, by which values are scaled."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.mean: list[float] = []
        self.std: list[float] = []

    def fit(self, values: NDArray[np.float64], names: list[str]) -> None:
        """Take them from the values `(time, channels)`, unless those of a checkpoint are there.

        The deviation of a constant channel is 1, so that it becomes zero and not infinite; what differs by rounding
        alone is constant.
        """
        if self.names:
            if names != self.names:
                raise _other_channels(self.names, names)
            return
        mean, std = values.mean(0), values.std(0)
        self.names, self.mean = names, mean.tolist()
        self.std = np.where(std > 1e-12 * np.abs(mean), std, 1.0).tolist()

    def __call__(self, values: Tensor) -> Tensor:
        """Raw values `(..., channels)` as the network wants them."""
        return (values - values.new_tensor(self.mean)) / values.new_tensor(self.std)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint, so that its network sees inputs as it saw them in training."""
        return {"channel_names": self.names, "channel_mean": self.mean, "channel_std": self.std}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        names = state_dict["channel_names"]
        if self.names and names != self.names:
            raise _other_channels(names, self.names)
        self.names, self.mean, self.std = names, state_dict["channel_mean"], state_dict["channel_std"]


class SeriesDataModule(ArrayDataModule):
    """What forecasting sets share: windows of one series, its splits in the order of time, scaled on the device by the
    training split's mean and standard deviation of each channel (a constant channel by 1).

    A window belongs to the split in which its targets lie. The inputs of validation and test reach back into the steps
    before, which are known when the forecast is made; no target is in two splits, and training sees nothing of either.
    The series is kept as float32. Its rows are its steps: gaps in time are not looked for.

    Args:
        look_back: Steps that a forecast is made from.
        horizon: Steps that are forecast.
        time_column: Column of the time in a file of one's own, numbers or ISO 8601, which must increase; none is the
            first column.
        predict_path: A file for `predict` whose last `look_back` rows are what the forecast of the steps after them is
            made from; it has the time and the channels that were trained on. The file of the training is not read then.
        **loading: Arguments of `ArrayDataModule`.
    """

    def __init__(
        self,
        look_back: int,
        horizon: int,
        time_column: str | None = None,
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.time_column = time_column
        self.predict_path = None if predict_path is None else Path(predict_path)
        for name, steps in (("look_back", look_back), ("horizon", horizon)):
            if steps < 1:
                raise InputError(f"{name}: expected at least 1 step, got {steps}")
        self.look_back, self.horizon = look_back, horizon
        self.scale = ChannelScale()

    @abstractmethod
    def read(self) -> tuple[NDArray[np.float64], list[str], Sequence[Stretch]]:
        """The series `(time, channels)`, the channels' names, and the steps of training, validation and test."""

    def assign_stretches(self, steps: Fingerprint, propose: Callable[[], list[Stretch]]) -> list[Stretch]:
        """Return the stretches of training, validation and test: those of the run, if its split is recorded, of which
        steps may be missing at the start and at the end. Steps that were added there are in none of them.

        Args:
            steps: The steps that were read.
            propose: Return the stretches of a new run.

        Raises:
            InputError: Steps were added or removed elsewhere, or none is one of the run.
        """
        splits = self.assign_splits(steps, lambda: [torch.arange(*stretch) for stretch in propose()])
        stretches: list[Stretch] = []
        for indices in splits.values():
            end = stretches[-1][1] if stretches else 0
            stretches.append((int(indices[0]), int(indices[-1]) + 1) if len(indices) else (end, end))
        return stretches

    def load(self) -> dict[str, SeriesWindows]:
        values, names, stretches = self.read()
        window = self.look_back + self.horizon
        if window > len(values):
            raise InputError(
                f"look_back {self.look_back} and horizon {self.horizon} need {window} steps, the series has "
                f"{len(values)}; take fewer, or a longer series"
            )
        tensor = torch.from_numpy(values).float()
        splits = {}
        for split, (start, end) in zip(("train", "val", "test"), stretches, strict=True):
            first, last = max(start - self.look_back, stretches[0][0]), end - window
            if last < first or start == end:
                needed = self.horizon if start else window
                raise InputError(
                    f"the {split} split is too short: {end - start} of the {len(values)} steps, {needed} are needed "
                    f"for one window; take fewer steps of look_back or horizon, or another share"
                )
            splits[split] = SeriesWindows(tensor, self.look_back, self.horizon, torch.arange(first, last + 1))
        if (values == values[0]).all():
            raise InputError(f"every channel is constant ({', '.join(names)}): nothing to forecast; choose other ones")
        self.scale.fit(values[slice(*stretches[0])], names)
        return splits

    def load_predict(self, path: Path) -> ArrayDataset:
        self._ready()
        values, names, *_ = read_series(path, self.time_column or 0, self.scale.names)
        if len(values) < self.look_back:
            raise InputError(f"{path}: a forecast is made from {self.look_back} steps, the file has {len(values)}")
        window = torch.from_numpy(values[-self.look_back :]).float().unsqueeze(0)
        return ArrayDataset(window, torch.zeros(1, self.horizon, len(names)))

    def _ready(self) -> None:
        if not self.scale.names:
            self.ensure_setup()

    @property
    def input_shape(self) -> tuple[int | None, ...]:  # type: ignore[override]
        return (self.look_back, len(self.channel_names))

    @property
    def channel_names(self) -> list[str]:
        self._ready()
        return self.scale.names

    @property
    def channel_mean(self) -> list[float]:
        """Of the training split's steps, in the data's units; so is `channel_std`."""
        self._ready()
        return self.scale.mean

    @property
    def channel_std(self) -> list[float]:
        self._ready()
        return self.scale.std

    def state_dict(self) -> dict[str, Any]:
        return {**self.scale.state_dict(), "input_shape": list(self.input_shape), "horizon": self.horizon}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.scale.load_state_dict(state_dict)
        check_new_shape(self, state_dict)
        if self.predict_path is not None and (steps := state_dict.get("horizon", self.horizon)) != self.horizon:
            raise InputError(f"the checkpoint was trained to forecast {steps} steps, and horizon is {self.horizon}")

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        inputs, targets = batch
        return self.scale(inputs), self.scale(targets)


def _other_channels(trained: list[str], names: list[str]) -> InputError:
    return InputError(f"the checkpoint was trained on the channels {', '.join(trained)}; these are {', '.join(names)}")
