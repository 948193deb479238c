"""`precision: auto`: use bfloat16 if it is faster on this machine."""

import time
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer

from litnets.internals import set_checkpoint_connector
from litnets.training.checkpoints.restoring import CheckedConnector

# Lightning's list of them has no public name.
Precision = Literal[
    "64-true", "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "transformer-engine",
    "transformer-engine-float16", "64", "32", "16", "bf16",
]  # fmt: skip


class AutoTrainer(Trainer):
    """Lightning's Trainer, which also accepts `precision="auto"`.

    Args:
        precision: A precision of Lightning, or `auto`: `bf16-mixed` if that is faster, else `32-true`. The command line
            measures once and saves the result in the run's config.yaml, so that repeating the run does not measure.
        **trainer: Other arguments of Trainer.

    Example:
        >>> AutoTrainer(precision="auto", accelerator="cpu").precision  # doctest: +SKIP
        'bf16-mixed'
    """

    def __init__(self, precision: Precision | Literal["auto"] | int | None = None, **trainer: Any) -> None:
        chosen: Any = precision
        if precision == "auto":
            chosen = fastest_precision(str(trainer.get("accelerator", "auto")))
        super().__init__(precision=chosen, **trainer)
        set_checkpoint_connector(self, CheckedConnector(self))


def fastest_precision(accelerator: str = "auto") -> Literal["bf16-mixed", "32-true"]:
    """Return the faster precision. A GPU reports whether it supports bfloat16; a CPU is timed for a few milliseconds.

    Args:
        accelerator: Lightning's accelerator; `auto` means a GPU if there is one.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator not in ("auto", "cpu") or (accelerator == "auto" and torch.backends.mps.is_available()):
        return "32-true"
    # A CPU with bfloat16 units multiplies about twice as fast with them; a CPU without them emulates them, many times
    # slower. The minimum of ten interleaved trials does not depend on the load of the machine.
    operands = {dtype: torch.ones(512, 512, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds = dict.fromkeys(operands, float("inf"))
    for _ in range(10):
        for dtype, x in operands.items():
            start = time.perf_counter()
            x @ x
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - start)
    return "bf16-mixed" if seconds[torch.bfloat16] < 0.8 * seconds[torch.float32] else "32-true"
