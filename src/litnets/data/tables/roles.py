"""What the columns of a table are for, as the options of `TableCSV` set it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from litnets.errors import InputError


@dataclass(frozen=True)
class ColumnRoles:
    """What the columns of a table are for.

    Args:
        targets: Columns to predict.
        task: What the targets are; None to infer it from their values.
        categorical: Numeric columns to treat as categories.
        ignore: Columns to leave out.
        keep: Columns to use although they look like row numbers, names or free text.
        group: Column whose equal values mark rows of one group; None for no groups. It is also listed in `ignore`.

    Raises:
        InputError: A target is listed twice or ignored, or a column is both kept and ignored.
    """

    targets: Sequence[str]
    task: Literal["classification", "regression"] | None = None
    categorical: Sequence[str] = ()
    ignore: Sequence[str] = ()
    keep: Sequence[str] = ()
    group: str | None = None

    def __post_init__(self) -> None:
        for name, count in Counter(self.targets).items():
            if count > 1:
                raise InputError(f"target: '{name}' is listed twice; remove one")
            if name == self.group:
                raise InputError(f"target: '{name}' is also the group_column; remove it from one of them")
            if name in self.ignore:
                raise InputError(f"target: '{name}' is also listed in ignore; remove it from one of them")
        for name in self.keep:
            if name in self.ignore:
                raise InputError(f"keep_columns: '{name}' is also listed in ignore; remove it from one of them")
