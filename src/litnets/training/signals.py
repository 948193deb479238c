"""End a command on a signal, with the right exit code.

SIGINT (Ctrl-C) and SIGTERM end a command with exit codes 130 and 143, as in a shell. In a SLURM job, SIGUSR1
(`#SBATCH --signal=USR1@90`) ends the command and requeues the job.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from litnets.internals import is_rank_zero


class Stop(BaseException):
    """Raised to end the command on a signal. It is not an Exception, so that `except Exception` does not catch it.

    Args:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class PeerProcessError(RuntimeError):
    """Another process of the same training has crashed; the message says which one and how."""


class Signals:
    """A context manager that handles the signals which end a command.

    A signal raises Stop in whatever code is running. While `deferred` is set, it is only recorded in `received`, and
    the code that set `deferred` stops at the next suitable point. A second signal ends the process immediately.

    Args:
        exits: Whether a second signal ends the process; otherwise it raises Stop.
    """

    def __init__(self, exits: bool = True) -> None:
        self._exits = exits
        self.received: int | None = None
        self.deferred = False
        self._when = 0.0
        self._pid = os.getpid()
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        self.listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for signum, handler in self._former.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        self._former = {}

    def listen(self) -> None:
        """Install the handlers. Call this again after Lightning's Trainer or a fork has replaced them."""
        self._pid = os.getpid()
        if threading.current_thread() is not threading.main_thread():
            return  # Python allows handlers in the main thread only
        signals = [signal.SIGINT, signal.SIGTERM]
        if "SLURM_JOB_ID" in os.environ and hasattr(signal, "SIGUSR1"):
            signals.append(signal.SIGUSR1)
        for signum in signals:
            if signal.getsignal(signum) is not signal.SIG_IGN:  # ignored under nohup, or in a background job
                self._former.setdefault(signum, signal.signal(signum, self._handle))

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # This is a forked DataLoader worker. Ctrl-C reaches it too, but its work is still needed. SIGTERM comes
            # from multiprocessing, which ends workers that are no longer needed.
            if signum == signal.SIGTERM:
                os._exit(128 + signum)
            return
        name = signal.Signals(signum).name
        if self.received is None:
            self.received, self._when = signum, time.monotonic()
            if not self.deferred:
                raise Stop(signum)
            _say(f"{name}: stopping after this batch (press Ctrl-C again to quit immediately)")
        elif time.monotonic() - self._when > 1:  # within a second, it is the same signal, forwarded by a launcher
            if not self._exits:
                raise Stop(signum)
            _say(f"{name} again: quitting without saving")
            os._exit(128 + signum)


def exit_code(signum: int) -> int:
    """Return the exit code of a command that a signal has ended. On SIGUSR1, requeue the SLURM job first."""
    if not is_rank_zero():
        return 0  # with any other code, Lightning would assume that this process failed, and kill rank 0
    _say(f"ended by {signal.Signals(signum).name}")
    if signum in (signal.SIGINT, signal.SIGTERM):
        return 128 + signum
    job = os.environ["SLURM_JOB_ID"]
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, encoding="utf-8", check=False)
        problem = done.stderr.strip() if done.returncode else None
    except OSError as error:
        problem = str(error)
    if problem is not None:
        print(f"litnets: job {job} could not be requeued: scontrol: {problem}", file=sys.stderr)
        return 128 + signum
    print(f"litnets: job {job} is requeued", file=sys.stderr)
    return 0


@rank_zero_only
def _say(text: str) -> None:
    """Write to stderr without Python's buffers, because the handler may have interrupted a print."""
    os.write(2, f"litnets: {text}\n".encode())
