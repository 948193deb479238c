"""Labels and categories as texts: two are the same if they are written alike.

A label that is read later, such as a category in new rows, may be written differently: pandas writes the whole number 1
as `1.0` if a value of its column is missing, and `True` where Parquet has `true`. Such a label is recognized.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)


def match_labels(labels: Iterable[str], trained: Sequence[str], one_dataset: bool = False) -> dict[str, int]:
    """Return the index in `trained` of each label that is recognized.

    A label is recognized if it is written like a trained label, or if it denotes the same number, truth value or
    Unicode text as exactly one of them.

        >>> match_labels(["1.0", "True", "3"], ["1", "2", "true"])
        {'1.0': 0, 'True': 2}

    Args:
        labels: The labels to recognize.
        trained: The labels of the training.
        one_dataset: Whether `labels` are all labels of one data set, in which `1` and `01` are different labels.
    """
    as_written = {label: index for index, label in enumerate(trained)}
    by_meaning: dict[str | Decimal, int | None] = {}  # None: several trained labels have this meaning
    for index, label in enumerate(trained):
        meaning = _meaning(label)
        by_meaning[meaning] = None if meaning in by_meaning else index
    distinct = dict.fromkeys(labels)
    matches = {}
    for label in distinct:
        match = as_written.get(label)
        if match is None:
            match = by_meaning.get(_meaning(label))
            if match is None or (one_dataset and trained[match] in distinct):
                continue
        matches[label] = match
    return matches


def equal_numbers(labels: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two labels that denote the same number, such as `1` and `01`, or None."""
    first: dict[str | Decimal, str] = {}
    for label in labels:
        other = first.setdefault(_meaning(label), label)
        if other != label and _NUMBER.fullmatch(label):
            return other, label
    return None


def _meaning(label: str) -> str | Decimal:
    """Return what different notations of a label have in common. Decimals are exact beyond 2^53 as well."""
    if _NUMBER.fullmatch(label):
        return Decimal(label)
    lower = label.lower()
    return lower if lower in ("true", "false") else unicodedata.normalize("NFC", label)
