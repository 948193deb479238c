"""Kill a search at random moments, and check that it ends exactly like one that was not killed.

    python -m tests.stress.search --kills 20 -- --config configs/digits_mlp.yaml --trainer.max_epochs 5 \
        --space configs/spaces/learning_rate.yaml --trials 20
    python -m tests.stress.search --kills 20 --compare -- ...     also search without successive halving, and compare

The arguments after `--` are options of `litnets search`.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.conftest import ROOT


def start(options: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start a search whose runs go to a folder."""
    command = [sys.executable, "-m", "litnets", "search", *options, "--runs_dir", str(folder), "--wandb.mode", "off"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def finish(options: list[str], folder: Path) -> float:
    """Run a search to its end, and return the seconds after its start-up."""
    process = start(options, folder)
    wait_for_trials(process)
    began = time.monotonic()
    output, _ = process.communicate()
    print(output, flush=True)
    if process.returncode:
        sys.exit(f"the search failed with exit code {process.returncode}")
    return time.monotonic() - began


def wait_for_trials(process: subprocess.Popen[str]) -> None:
    """Wait until the search has checked its space and begins to train."""
    assert process.stdout is not None
    for line in process.stdout:
        if " trials started" in line:
            return


def kill_repeatedly(options: list[str], folder: Path, kills: int, seconds: float) -> int:
    """Kill a search after random times of `seconds` on average, then let it finish; return how often it was killed."""
    for count in range(kills):
        process = start(options, folder)
        wait_for_trials(process)
        time.sleep(random.uniform(0, 2 * seconds))
        is_killed = process.poll() is None
        if is_killed:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        if any(folder.glob("*/search_*/search.json")):  # finished before the signal
            return count + is_killed
    finish(options, folder)
    return kills


def outcome(folder: Path) -> dict[str, Any]:
    """Return what must not depend on interruptions: the trials and the results, without the time that they took."""
    (search,) = folder.glob("*/search_*/search.json")
    results = json.loads(search.read_text())
    del results["seconds"]
    return {"trials": (search.parent / "trials.csv").read_text(), **results}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="number of times to kill the search")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--compare", action="store_true", help="compare with a search without successive halving")
    parser.add_argument("options", nargs="+", help="options of `litnets search`, after --")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        uninterrupted, killed, full = (Path(name, part) for part in ("uninterrupted", "killed", "full"))
        seconds = finish(arguments.options, uninterrupted)
        kills = kill_repeatedly(arguments.options, killed, arguments.kills, 0.8 * seconds / arguments.kills)
        expected, actual = outcome(uninterrupted), outcome(killed)
        differences = [key for key in expected if expected[key] != actual[key]]
        print(f"killed {kills} times: {'different ' + ', '.join(differences) if differences else 'identical'}")
        if arguments.compare:
            finish([*arguments.options, "--no_halving"], full)
            compare(expected, outcome(full))
    return 1 if differences or kills < arguments.kills else 0


def compare(halving: dict[str, Any], full: dict[str, Any]) -> None:
    """Print the epochs that successive halving saves, and how far its winner is from that of the full search."""
    saved = 1 - halving["epochs_trained"] / full["epochs_trained"]
    difference = halving["final"]["validation"]["mean"] - full["final"]["validation"]["mean"]
    deviations = abs(difference) / full["final"]["validation"]["std"]
    print(f"epochs: {halving['epochs_trained']} instead of {full['epochs_trained']}, {saved:.0%} saved")
    print(f"{full['monitor']} of the winners, fresh seeds: {difference:+.4f}, {deviations:.1f} standard deviations")


if __name__ == "__main__":
    sys.exit(main())
