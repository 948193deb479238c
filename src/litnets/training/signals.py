"""Signals: what ends a command from outside, and with which exit code.

SIGINT (Ctrl-C) and SIGTERM end a command with 130 and 143, as a shell would count them. In a job of SLURM, SIGUSR1
(`#SBATCH --signal=USR1@90`) ends it and queues the job again.
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


class Stop(BaseException):
    """Ends the command for a signal. No Exception, so that nothing on the way takes it for an error.

    Args:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class PeerProcessError(RuntimeError):
    """Ends this process because another one of the same training has crashed; the message says which and how."""


class Signals:
    """Listens to the signals that end a command, as a context manager.

    A signal raises Stop wherever the program stands; while `deferred`, it is only noted in `received`, and whoever is
    deferred ends when it suits. A second one ends the process at once.
    """

    def __init__(self) -> None:
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
        """Take the signals, again if need be: Lightning's Trainer, and each process that it forks, take them away."""
        self._pid = os.getpid()
        if threading.current_thread() is not threading.main_thread():
            return  # Python lets no other one
        signals = [signal.SIGINT, signal.SIGTERM]
        if "SLURM_JOB_ID" in os.environ and hasattr(signal, "SIGUSR1"):
            signals.append(signal.SIGUSR1)
        for signum in signals:
            if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup, or a job in the background
                self._former.setdefault(signum, signal.signal(signum, self._handle))

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A DataLoader's worker, forked from here. A Ctrl-C reaches it, too, but its work is still wanted; by
            # SIGTERM multiprocessing ends workers that are not.
            if signum == signal.SIGTERM:
                os._exit(128 + signum)
            return
        name = signal.Signals(signum).name
        if self.received is None:
            self.received, self._when = signum, time.monotonic()
            if not self.deferred:
                raise Stop(signum)
            _say(f"{name}: stopping after this batch; once more: at once")
        elif time.monotonic() - self._when > 1:  # sooner, it is the same one, sent on by a launcher
            _say(f"{name} again: ended without saving")
            os._exit(128 + signum)


def exit_code(signum: int) -> int:
    """With which code the command ends that a signal has ended; for SIGUSR1 the job is queued again first."""
    if getattr(rank_zero_only, "rank", 0) != 0:
        return 0  # Lightning kills the first process when another one seems to have failed
    _say(f"ended by {signal.Signals(signum).name}")
    if signum in (signal.SIGINT, signal.SIGTERM):
        return 128 + signum
    job = os.environ["SLURM_JOB_ID"]
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        problem = done.stderr.strip() if done.returncode else None
    except OSError as error:
        problem = str(error)
    if problem is not None:
        print(f"litnets: job {job} could not be queued again: scontrol: {problem}", file=sys.stderr)
        return 128 + signum
    print(f"litnets: job {job} is queued again", file=sys.stderr)
    return 0


def _say(text: str) -> None:
    """To stderr, past Python's buffers: a handler may have interrupted a print."""
    if getattr(rank_zero_only, "rank", 0) == 0:
        os.write(2, f"litnets: {text}\n".encode())
