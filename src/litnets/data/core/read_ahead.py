"""Read the next samples in a thread while the network computes. Decoders and torch release the GIL."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from threading import Event
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Set when the results of the current thread are no longer needed; see `read_all`.
reading_stopped: ContextVar[Event] = ContextVar("reading_stopped", default=Event())  # noqa: B039 the default is never set


def read_ahead(items: Iterable[T], read: Callable[[T], R]) -> Generator[R]:
    """Yield `read(item)` for each item, in order. A thread reads the next item while the caller uses a result.

    At most two results are in memory. An error is raised in place of the result of its item. Close the iterator to
    stop reading.

    Args:
        items: The items. They are iterated over in the thread of the caller.
        read: Reads an item. It is called in one other thread.
    """
    iterator = iter(items)
    stopped = Event()

    def start() -> Future[R] | None:
        """Start to read the next item; None if there are no more."""
        try:
            return pool.submit(read, next(iterator))
        except StopIteration:
            return None
        except Exception as error:  # raised by the iterator
            failed: Future[R] = Future()
            failed.set_exception(error)
            return failed

    with ThreadPoolExecutor(1, initializer=reading_stopped.set, initargs=(stopped,)) as pool:
        try:
            current = start()
            while current is not None:
                result = current.result()
                current = start()
                yield result
        finally:
            stopped.set()
