"""The distribution of the weights of each layer of the best checkpoint."""

from typing import Any

import numpy as np

from litnets.analysis.report.blocks import Section, Table
from litnets.analysis.report.svg import sparkline
from litnets.runs.folder import Run

_MAX_LAYERS = 80
_MAX_VALUES = 200_000  # of a layer; more do not change its histogram


def weights(run: Run) -> Section | None:
    """Build the table of the weights of each layer; None if there is no checkpoint."""
    if not run.best.exists():
        return None
    import torch  # here, because it is slow

    from litnets.safety.checkpoint_file import load_verified

    state: dict[str, Any] = load_verified(run.best, mmap=True).get("state_dict") or {}
    tensors: dict[str, Any] = {name: value for name, value in state.items() if torch.is_tensor(value)}
    layers = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.ndim > 1}
    rows: list[list[Any]] = []
    for name, tensor in list(layers.items())[:_MAX_LAYERS]:
        values = tensor.detach().float().flatten()
        values = values[:: max(1, len(values) // _MAX_VALUES)].numpy()
        finite = values[np.isfinite(values)]
        if not len(finite):
            rows.append([name, " × ".join(map(str, tensor.shape)), None, None, None, ""])  # noqa: RUF001
            continue
        largest = float(np.abs(finite).max())
        counts = np.histogram(finite, 31, (-largest or -1, largest or 1))[0]
        shape = " × ".join(map(str, tensor.shape))  # noqa: RUF001
        near_zero = f"{float((np.abs(finite) < 1e-3 * (finite.std() or 1)).mean()):.1%}"
        rows.append([name, shape, float(finite.std()), largest, near_zero, sparkline(np.sqrt(counts).tolist())])
    if not rows:
        return None
    more = f" The first {_MAX_LAYERS} of {len(layers)} layers." if len(layers) > _MAX_LAYERS else ""
    caption = f"Histograms around zero, with the square root of the count as height.{more}"
    head = ["layer", "shape", "standard deviation", "largest", "near zero", "distribution"]
    return Section("Weights", [Table(head, rows, caption=caption)])
