"""Handle standard streams that lack a character, or that are closed.

litnets fit ... >&-
litnets fit ... | head -1
PYTHONIOENCODING=cp1252 litnets fit ...
"""

import io
import os
import select
import stat
import sys

BROKEN_PIPE_EXIT_CODE = 141  # 128 + SIGPIPE, as a shell reports a process that SIGPIPE ended


def open_missing_streams() -> None:
    """Open the null device for each of stdin, stdout and stderr that is closed.

    Otherwise the next file that is opened, such as a checkpoint, would get its number, and whatever is printed would be
    written into that file.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, descriptor)
            if null != descriptor:
                os.close(null)
            os.set_inheritable(descriptor, True)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))


def set_output_encoding() -> None:
    """Print a question mark for a character that the encoding of stdout or stderr lacks, instead of failing.

    Into a file, as in `litnets fit ... --print_config > config.yaml`, print UTF-8 in every locale, unless
    PYTHONIOENCODING is set.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_file = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
            encoding = "utf-8" if is_file and "PYTHONIOENCODING" not in os.environ else None
            stream.reconfigure(encoding=encoding, errors="replace")


def silence_broken_streams() -> bool:
    """Redirect stdout and stderr to the null device if they are pipes whose reader is gone.

    Returns:
        Whether there was such a stream. Otherwise a BrokenPipeError has another cause.
    """
    broken = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream.fileno())]
    for stream in broken:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    return bool(broken)


def _has_no_reader(descriptor: int) -> bool:
    if not hasattr(select, "poll"):  # Windows, which does not say whether the pipe has a reader
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
