"""Read raw inputs from a .npy file, `(N, ...)`."""

from collections.abc import Iterator
from typing import Any

import numpy as np


def read(path: str, about: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name of each input and the input."""
    for number, sample in enumerate(np.load(path)):
        yield f"{path}[{number}]", sample.astype(about["inputs"][0]["dtype"])
