"""Reproduce the scores in the headers of configs/ and in README.md, and check that they agree.

    make scores                                              # all of them, which takes hours
    python tools/scores.py configs/iris_mlp.yaml --jobs 2    # some
    python tools/scores.py --check                           # without training

The scores of a configuration come from `litnets seeds` or, for scores of folds, from `litnets cv` with each seed.
They are written into the line `# test ... (mean ± standard deviation of 3 seeds: 42, 43, 44)` of its header, and into
its row in README.md. If the command is interrupted, it continues: it uses the results in checkpoints/ that come from
the same configuration. `--check` compares headers, README.md and these results.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from litnets.__main__ import main as litnets

_LINE = re.compile(
    r"^# test (?P<scores>.+?) \((?:(?P<folds>\d+) folds; )?mean ± standard deviation of 3 seeds: (?P<seeds>[\d, ]+\d)",
    re.MULTILINE,
)
_SCORE = re.compile(r"(?P<label>[\w ]+?) (?P<mean>-?[\d.]+) ± (?P<std>[\d.]+)")
_METRICS = {"macro F1": "f1"}  # a metric's name in headers, if it differs from that in results
_AGREEMENT = 1.01e-4  # scores are written with four decimals


@dataclass(frozen=True)
class Header:
    """The scores in the header of a configuration.

    Args:
        config: The configuration.
        scores: Each score as text, such as `0.9759 ± 0.0032`, by the label of its metric.
        seeds: The seeds.
        folds: The number of folds of a cross-validation, or None.
        takes_data_dir: Whether its command sets the folder of the data.
    """

    config: Path
    scores: Mapping[str, str]
    seeds: Sequence[int]
    folds: int | None
    takes_data_dir: bool

    @classmethod
    def read(cls, config: Path) -> "Header | None":
        """Return the scores in the header of a configuration; None if it states no scores of three seeds."""
        text = config.read_text(encoding="utf-8")
        if (line := _LINE.search(text)) is None:
            return None
        scores = {match["label"].strip(" ,"): f"{match['mean']} ± {match['std']}" for match in _SCORE.finditer(line[1])}
        folds = None if line["folds"] is None else int(line["folds"])
        seeds = [int(seed) for seed in line["seeds"].split(",")]
        return cls(config, scores, seeds, folds, "--data.data_dir" in text[: line.start()])

    def commands(self, data_dir: str) -> list[list[str]]:
        """Return the commands that compute the scores."""
        options = ["--config", str(self.config), *(["--data.data_dir", data_dir] if self.takes_data_dir else [])]
        if self.folds is None:
            return [["seeds", "--seeds", ",".join(map(str, self.seeds)), *options]]
        return [["cv", "--folds", str(self.folds), *options, "--seed_everything", str(seed)] for seed in self.seeds]

    def results(self, data_dir: str) -> dict[str, str] | None:
        """Return the scores from the results in checkpoints/; None if a command has not finished."""
        found = [find_results(command, self.config) for command in self.commands(data_dir)]
        if None in found:
            return None
        contents = [content for content in found if content is not None]
        scores = {}
        for label in self.scores:
            metric = _METRICS.get(label, label)
            if self.folds is None:
                summary = contents[0]["summary"][metric]
                mean, std = summary["mean"], summary["std"]
            else:
                means = [content["summary"][metric]["mean"] for content in contents]
                mean, std = statistics.fmean(means), statistics.stdev(means)
            scores[label] = f"{mean:.4f} ± {std:.4f}"
        return scores


def find_results(command: list[str], config: Path) -> dict[str, Any] | None:
    """Return the newest results of a command; None if it has not finished. Comments in the configuration may differ."""
    kind = command[0]
    options = command[command.index("--config") :]
    for path in sorted(Path("checkpoints", config.stem).glob(f"{kind}_*/{kind}.json"), reverse=True):
        done = json.loads((path.parent / "command.json").read_text(encoding="utf-8"))
        same_config = yaml.safe_load(done["configs"].get(str(config), "")) == yaml.safe_load(
            config.read_text(encoding="utf-8")
        )
        if done["options"] == options and same_config and _same_settings(command, done):
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return content
    return None


def _same_settings(command: list[str], done: Mapping[str, Any]) -> bool:
    if command[0] == "seeds":
        return bool(done["seeds"] == [int(seed) for seed in command[2].split(",")])
    return bool(done["folds"] == int(command[2]) and done["repeats"] == 1)


def differs(stated: str, measured: str) -> bool:
    """Return whether two scores such as `0.9759 ± 0.0032` differ by more than the rounding of the last digit."""
    pairs = zip(stated.split(" ± "), measured.split(" ± "), strict=True)
    return any(abs(float(first) - float(second)) > _AGREEMENT for first, second in pairs)


def readme_row(readme: str, header: Header) -> re.Match[str] | None:
    """Return the score in the row of a configuration in README.md."""
    return re.search(rf"^\| `{header.config.stem}` \|[^|]*\| (?P<score>[^|]*) \|", readme, re.MULTILINE)


def check(headers: Sequence[Header], readme: str, data_dir: str) -> Iterator[str]:
    """Yield a line for each score that does not agree."""
    for header in headers:
        name = header.config.stem
        label, score = next(iter(header.scores.items()))
        row = readme_row(readme, header)
        if row is None or row["score"] != f"{label} {score}":
            yield f"{name}: the header says {label} {score}, README.md {row['score'] if row else 'nothing'}"
        for label, measured in (header.results(data_dir) or {}).items():
            if differs(header.scores[label], measured):
                yield f"{name}: the header says {label} {header.scores[label]}, the results {measured}"


def write(header: Header, measured: Mapping[str, str], readme_path: Path) -> None:
    """Write measured scores into the header and README.md."""
    config_text, readme = (path.read_text(encoding="utf-8") for path in (header.config, readme_path))
    line = _LINE.search(config_text)
    assert line is not None
    scores = ", ".join(f"{label} {score}" for label, score in measured.items())
    config_text = config_text[: line.start("scores")] + scores + config_text[line.end("scores") :]
    header.config.write_text(config_text, encoding="utf-8")
    if (row := readme_row(readme, header)) is not None:
        first = next(f"{label} {score}" for label, score in measured.items())
        readme_path.write_text(readme[: row.start("score")] + first + readme[row.end("score") :], encoding="utf-8")


def main(args: list[str]) -> int:
    """Reproduce or check the scores, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", type=Path, help="configurations; default: all that state scores")
    parser.add_argument("--check", action="store_true", help="only compare headers, README.md and results")
    parser.add_argument("--jobs", default="1", help="number of runs at the same time (%(default)s)")
    parser.add_argument("--data-dir", default="data", help="folder of the downloaded data sets (%(default)s)")
    options = parser.parse_args(args)
    found = [Header.read(path) for path in options.configs or sorted(Path("configs").glob("*.yaml"))]
    headers = [header for header in found if header is not None]
    readme_path = Path("README.md")
    if not options.check:
        for header in headers:
            for command in header.commands(options.data_dir):
                is_done = find_results(command, header.config) is not None
                if not is_done and (code := litnets([*command, "--jobs", options.jobs])):
                    return code
            measured = header.results(options.data_dir)
            assert measured is not None
            write(header, measured, readme_path)
            print(f"{header.config}: {measured}", flush=True)
        return 0
    problems = list(check(headers, readme_path.read_text(encoding="utf-8"), options.data_dir))
    measured_count = sum(header.results(options.data_dir) is not None for header in headers)
    for problem in problems:
        print(problem)
    print(f"{len(headers)} configurations, {measured_count} of them with results: {len(problems)} disagreements")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
