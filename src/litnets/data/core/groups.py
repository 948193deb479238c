"""Groups of samples that stay together in one split and fold: copies, and files that share a part of their names."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from litnets.data.core.fingerprint import Digests
from litnets.errors import InputError, abbreviate


def copy_groups(contents: Digests, usable: Tensor | None = None) -> Tensor:
    """Return the index of each sample's group, `(samples,)`. Copies are in the same group.

    Args:
        contents: Digest of the content of each sample.
        usable: Mask of the samples that may be used, `(samples,)`; None for all. Each other sample is its own group.
    """
    groups = torch.from_numpy(np.unique(contents, return_inverse=True)[1])
    return groups if usable is None else torch.where(usable, groups, len(groups) + torch.arange(len(groups)))


def name_groups(files: Sequence[Path], depth: int, pattern: str) -> Tensor:
    """Return the index of each file's group, `(files,)`. A part of its name determines the group.

    Args:
        files: Paths of the files.
        depth: Number of folders at the start of each path that are not part of the name.
        pattern: Regular expression for the start of a name. The group is what its parentheses match, or the complete
            match if there are none.

    Raises:
        InputError: The pattern is not a regular expression, or does not match a name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"group_pattern: '{pattern}' is not a regular expression: {error}") from error
    names = ["/".join(file.parts[depth:]) for file in files]
    matches = [expression.match(name) for name in names]
    unmatched = [name for name, match in zip(names, matches, strict=True) if match is None]
    if unmatched:
        raise InputError(
            f"group_pattern: '{pattern}' does not match the start of {len(unmatched)} of {len(names)} names "
            f"({abbreviate(unmatched, 3)}); change the pattern or these names"
        )
    keys = [match.groups() or match[0] for match in matches if match is not None]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return torch.tensor([numbers[key] for key in keys])


def groups_in(pool: Tensor, groups: Tensor | None) -> Tensor | None:
    """Return the groups of the samples with the indices `pool`; None if no two of them share a group."""
    if groups is None or len(groups[pool].unique()) == len(pool):
        return None
    return groups[pool]
