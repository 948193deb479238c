"""calibration.json: the calibration of the best checkpoint of a run.

    calibration = Calibration.find(run, weights)    # None for the weights of another checkpoint
    if calibration is not None:
        calibration.apply(network)                  # `predict_step` then uses it

The entries of the file are the attributes of `Calibration`. `litnets.analysis.calibrate` writes it after a test.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from litnets.analysis.calibration import MAX_TEMPERATURE
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.storage import JsonType, check_types, damaged, read_json
from litnets.tasks import Classifier, Forecaster, Regressor

_TYPES: JsonType = {
    "weights": "string",
    "samples": "number",
    "coverage": "number",
    "temperature": "number",
    "set_threshold?": "number",
    "half_widths?": ["any"],
}


@dataclass(frozen=True)
class Calibration:
    """How the predictions of a network are calibrated.

    Args:
        weights: Fingerprint of the network's weights.
        samples: Number of validation samples that it was calibrated with.
        coverage: Fraction of new samples that the sets or intervals should cover.
        temperature: Divides the logits of a classifier; 1 if the network predicts numbers.
        set_threshold: The lowest calibrated probability of a class in a prediction set; None for numbers.
        half_widths: Half the width of the prediction intervals, in the units of the data: of each target, or of each
            step and channel; None for classes.
    """

    weights: str
    samples: int
    coverage: float
    temperature: float = 1.0
    set_threshold: float | None = None
    half_widths: list[Any] | None = None

    @classmethod
    def find(cls, run: Run, weights: Mapping[str, Any]) -> "Calibration | None":
        """Return the calibration of a network; None if the run has none for its weights.

        Args:
            run: The run.
            weights: The `state_dict` in the network's checkpoint.

        Raises:
            InputError: calibration.json is damaged.
        """
        if not run.calibration.exists():
            return None
        content = read_json(run.calibration)
        check_types(run.calibration, content, _TYPES)
        if unknown := content.keys() - {field.name for field in fields(cls)}:
            raise damaged(run.calibration, f"{min(unknown)}: expected no such entry")
        calibration = cls(**content)
        if problem := calibration._problem():
            raise damaged(run.calibration, problem)
        return calibration if calibration.weights == fingerprint(weights) else None

    def _problem(self) -> str | None:
        """Return the problem with a value that `calibrate` cannot have written; None if there is none."""
        if not 1 / MAX_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE:
            return f"temperature: expected {1 / MAX_TEMPERATURE} to {MAX_TEMPERATURE}, got {self.temperature}"
        if self.set_threshold is not None and not 0 <= self.set_threshold <= 1:
            return f"set_threshold: expected 0 to 1, got {self.set_threshold}"
        rows: list[Any] = self.half_widths or []  # one number per target, or for each step one per channel
        numbers = [number for row in rows for number in (row if isinstance(row, list) else [row])]
        is_number = all(isinstance(number, int | float) and 0 <= number < 1e39 for number in numbers)
        if not is_number or len({len(row) if isinstance(row, list) else None for row in rows}) > 1:
            return "half_widths: expected numbers of at least 0, or equally long lists of such numbers"
        return None

    def apply(self, network: LightningModule) -> None:
        """Calibrate the predictions of a network.

        Raises:
            InputError: The calibration is for another number of targets, steps or channels.
        """
        if isinstance(network, Classifier):
            network.temperature, network.set_threshold = self.temperature, self.set_threshold
        elif isinstance(network, Regressor):
            network.half_widths = self._half_widths((len(network.target_names),))
        elif isinstance(network, Forecaster):
            network.half_widths = self._half_widths((network.horizon, len(network.channel_names)))

    def _half_widths(self, shape: tuple[int, ...]) -> Tensor | None:
        if self.half_widths is None:
            return None
        half_widths = torch.tensor(self.half_widths)
        if half_widths.shape != shape:
            raise InputError(
                f"calibration.json: expected half_widths of the shape {shape}, got {tuple(half_widths.shape)}; "
                "`litnets test RUN` calibrates the run again"
            )
        return half_widths


def fingerprint(weights: Mapping[str, Any]) -> str:
    """Return a hash of the names, types, shapes and values of the weights of a network."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        if isinstance(tensor, Tensor):  # the extra state of a module may be anything
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
