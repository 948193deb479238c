"""Choose a limited number of evenly spaced epochs, without knowing how many epochs will follow."""


def evenly_spaced(epochs: int, limit: int) -> range:
    """Return the epochs to keep when some are done: 0 and every second, fourth ... one, so that they fit the limit.

    An epoch that is kept later was also kept before, so nothing has to be repeated as the training grows.

    Args:
        epochs: Number of epochs that are done.
        limit: Number of epochs to keep, at least 2.

    Example:
        >>> list(evenly_spaced(5, limit=4))
        [0, 2, 4]
    """
    step = 1
    while epochs // step + 1 > limit:
        step *= 2
    return range(0, epochs + 1, step)
