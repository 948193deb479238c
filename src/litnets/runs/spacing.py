"""Choose a limited number of evenly spaced epochs, without knowing how many epochs will follow."""


def evenly_spaced(epochs: int, limit: int) -> range:
    """Return the epochs to keep, from 0 on: all of them or, to stay within the limit, every second, fourth, eighth ...

    An epoch that is removed is not needed again, however long the training becomes.

    Args:
        epochs: Number of epochs so far.
        limit: Number of epochs to keep, at least 2.

    Example:
        >>> list(evenly_spaced(5, limit=4))
        [0, 2, 4]
    """
    step = 1
    while epochs // step + 1 > limit:
        step *= 2
    return range(0, epochs + 1, step)
