"""The order in which a loader reads the samples of a split."""

from typing import Any

from torch.utils.data import DistributedSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

_RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def fixed_order(loader: Any) -> list[Any] | None:
    """Return the indices of the samples in each batch of a loader, or None if its order is random or unknown."""
    batches = getattr(loader, "batch_sampler", None)
    sampler = getattr(batches, "sampler", None)
    is_random = isinstance(sampler, _RANDOM) or (isinstance(sampler, DistributedSampler) and sampler.shuffle)
    return None if batches is None or sampler is None or is_random else list(batches)
