"""The search space: the options of `litnets fit` that a search varies, and the values of each.

model.lr: log(1e-4, 1e-1)         # numbers, evenly distributed on a logarithmic scale
model.dropout: uniform(0, 0.5)    # numbers
model.layers: int(1, 4)           # whole numbers, both ends included
model.hidden_size: logint(16, 512)
data.batch_size: [32, 64, 128]    # a list of values of any kind
model.hidden_layer_sizes: [[64], [128], [64, 64]]
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from litnets.errors import InputError, did_you_mean
from litnets.runs.storage import read_text
from litnets.safety.plain import load_yaml
from litnets.training.resume.config_diff import SPLIT_OPTIONS

Kind = Literal["uniform", "log", "int", "logint", "values"]
_KINDS: dict[str, Kind] = {"uniform": "uniform", "log": "log", "int": "int", "logint": "logint"}
_FORMS = "a list such as [0, 0.2, 0.4], uniform(0, 0.5), log(1e-4, 1e-1), int(1, 4) or logint(16, 512)"

# Options that a search sets itself.
_SET_BY_SEARCH = {"seed_everything", "experiment", "runs_dir", "test_after_fit", "stop_after_epoch", "config"}


@dataclass(frozen=True)
class Parameter:
    """An option and the values to search.

    Args:
        name: The option without its leading dashes.
        kind: How the values are distributed.
        low: The smallest value; 0 for a list.
        high: The largest value; 0 for a list.
        values: The values of a list, as JSON.
    """

    name: str
    kind: Kind
    low: float = 0
    high: float = 0
    values: tuple[str, ...] = ()

    @property
    def grid(self) -> tuple[str, ...] | None:
        """All values of a list or of `int(low, high)`; None for the other kinds."""
        if self.kind == "int":
            return tuple(str(value) for value in range(int(self.low), int(self.high) + 1))
        return self.values or None

    @property
    def examples(self) -> tuple[str, ...]:
        """The values to check before a search: all values of a list, otherwise the smallest and the largest."""
        return self.values or (self.to_text(self.low), self.to_text(self.high))

    @property
    def is_log(self) -> bool:
        return self.kind in ("log", "logint")

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "logint")

    def to_text(self, value: Any) -> str:
        """Return a value as the command line takes it."""
        if self.values:
            return str(value)
        return str(int(value)) if self.is_integer else json.dumps(float(value))

    def round(self, value: Any) -> Any:
        """Round a sampled number to three significant digits, which keeps configurations readable."""
        if self.values or self.is_integer:
            return value
        rounded = float(f"{value:.3g}")
        return min(max(rounded, self.low), self.high)

    def __str__(self) -> str:
        if self.values:
            return f"[{', '.join(self.values)}]"
        return f"{self.kind}({self.to_text(self.low)}, {self.to_text(self.high)})"


def read_space(entries: Sequence[str]) -> list[Parameter]:
    """Return the parameters of a search space.

    Args:
        entries: YAML files, and entries such as `model.lr=log(1e-4,1e-1)`, which override those of the files.

    Raises:
        InputError: A file or an entry cannot be read, or an option cannot be searched.
    """
    domains: dict[str, Any] = {}
    for entry in entries:
        name, equals, domain = entry.partition("=")
        if equals and not Path(entry).exists():
            domains[name.strip().removeprefix("--")] = domain.strip()
        else:
            domains |= _read_file(Path(entry))
    if not domains:
        raise InputError("--space names no option; expected a YAML file or entries such as model.lr=log(1e-4,1e-1)")
    return [_parameter(name, domain) for name, domain in domains.items()]


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"--space {path}: no such file; expected a YAML file or OPTION=VALUES, with {_FORMS}")
    content = load_yaml(str(path), read_text(path))
    if not isinstance(content, dict) or not content:
        raise InputError(f"--space {path}: expected a mapping of options to values: {_FORMS}")
    return {str(name).removeprefix("--"): domain for name, domain in content.items()}


def _parameter(name: str, domain: Any) -> Parameter:
    last = name.rpartition(".")[2]
    if name in _SET_BY_SEARCH:
        raise InputError(f"--space {name}: set by the search itself")
    if name in ("monitor", "monitor_mode") or (name.startswith("data.") and last in SPLIT_OPTIONS):
        raise InputError(f"--space {name}: cannot be searched, because the validation scores could not be compared")
    if name == "trainer.max_epochs":
        raise InputError(
            "--space trainer.max_epochs: cannot be searched, because all trials have the same budget; "
            "early stopping and the best checkpoint choose the epoch"
        )
    if isinstance(domain, str) and not domain.startswith("["):
        return _range(name, domain)
    values = load_yaml(f"--space {name}", domain) if isinstance(domain, str) else domain
    if not isinstance(values, list) or not values:
        raise InputError(f"--space {name}: expected {_FORMS}, got {domain}")
    texts = tuple(value if isinstance(value, str) else json.dumps(value) for value in values)
    if len(set(texts)) < len(texts):
        raise InputError(f"--space {name}: a value appears twice in {domain}")
    return Parameter(name, "values", values=texts)


def _range(name: str, domain: str) -> Parameter:
    match = re.fullmatch(r"(\w+)\(([^,()]+),([^,()]+)\)", domain.replace(" ", ""))
    if match is None:
        raise InputError(f"--space {name}: expected {_FORMS}, got {domain}")
    kind = _KINDS.get(match[1])
    if kind is None:
        raise InputError(
            f"--space {name}: no distribution '{match[1]}'{did_you_mean(match[1], _KINDS)}; expected {_FORMS}"
        )
    low, high = (_number(name, text, kind) for text in match.groups()[1:])
    if low >= high:
        raise InputError(f"--space {name}: expected a lower bound below the upper bound, got {domain}")
    if kind in ("log", "logint") and low <= 0:
        raise InputError(f"--space {name}: a logarithmic scale needs bounds above 0, got {domain}")
    return Parameter(name, kind, low, high)


def _number(name: str, text: str, kind: Kind) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (kind in ("int", "logint") and number != int(number)):
        expected = "a whole number" if kind in ("int", "logint") else "a number"
        raise InputError(f"--space {name}: expected {expected}, got {text}")
    return number
