import json
from pathlib import Path

import pytest

from tools.scores import Header, check, main, write

HEADER = """\
# Surnames.
#   litnets fit --config configs/names.yaml --data.data_dir DATA
# test accuracy 0.8058 ± 0.0100, macro F1 0.5398 ± 0.0115 (mean ± standard deviation of 3 seeds: 42, 43, 44; of 10: 0.8)
model: MLPClassifier
"""
README = "| config | data | test | time |\n| `names` | Surnames | accuracy 0.8058 ± 0.0100 | 3.1 min |\n"


@pytest.fixture
def config() -> Path:
    Path("configs").mkdir()
    path = Path("configs", "names.yaml")
    path.write_text(HEADER)
    Path("README.md").write_text(README)
    return path


def write_results(kind: str, summary: dict[str, dict[str, float]], number: int = 0, **command: object) -> None:
    folder = Path("checkpoints", "names", f"{kind}_{number}")
    folder.mkdir(parents=True)
    (folder / f"{kind}.json").write_text(json.dumps({"summary": summary}))
    configs = {"configs/names.yaml": "model: MLPClassifier\n"}
    (folder / "command.json").write_text(json.dumps({"command": kind, "configs": configs, **command}))


def read(config: Path) -> Header:
    header = Header.read(config)
    assert header is not None
    return header


def test_headers_and_readme_of_this_repository_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    headers = [header for path in sorted(Path("configs").glob("*.yaml")) if (header := Header.read(path))]
    assert len(headers) > 10
    readme = Path("README.md").read_text()
    assert [line for line in check(headers, readme, "data") if "README" in line] == []


def test_the_commands_come_from_the_header(config: Path) -> None:
    seeds = ["seeds", "--seeds", "42,43,44", "--config", "configs/names.yaml", "--data.data_dir", "DIR"]
    assert read(config).commands("DIR") == [seeds]
    config.write_text(HEADER.replace("(mean", "(5 folds; mean").replace(" --data.data_dir DATA", ""))
    assert read(config).commands("DIR")[2] == ["cv", "--folds", "5", "--config", str(config), "--seed_everything", "44"]


def test_results_are_compared_with_the_header_and_written_into_it(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = {"accuracy": {"mean": 0.80585, "std": 0.01}, "f1": {"mean": 0.6, "std": 0.02}}
    options = ["--config", "configs/names.yaml", "--data.data_dir", "data"]
    write_results("seeds", summary, options=options, seeds=[42, 43, 44])
    assert main(["--check"]) == 1
    assert capsys.readouterr().out == (
        "names: the header says macro F1 0.5398 ± 0.0115, the results 0.6000 ± 0.0200\n"
        "1 configurations, 1 of them with results: 1 disagreements\n"
    )
    assert main([]) == 0  # the results are used again
    assert main(["--check"]) == 0
    assert "# test accuracy 0.8058 ± 0.0100, macro F1 0.6000 ± 0.0200 (mean ±" in config.read_text()
    assert config.read_text().endswith("of 10: 0.8)\nmodel: MLPClassifier\n")


def test_results_of_another_configuration_do_not_count(config: Path) -> None:
    options = ["--config", "configs/names.yaml", "--data.data_dir", "data"]
    write_results("seeds", {}, options=options, seeds=[42, 43])
    write_results("seeds", {}, 1, options=[*options, "--model.lr", "1"], seeds=[42, 43, 44])
    assert read(config).results("data") is None
    config.write_text(HEADER + "seed_everything: 1\n")
    write_results("seeds", {}, 2, options=options, seeds=[42, 43, 44])
    assert read(config).results("data") is None


def test_the_scores_of_folds_are_those_of_the_means_of_each_seed(config: Path) -> None:
    config.write_text(HEADER.replace("(mean", "(5 folds; mean"))
    for seed, mean in ((42, 0.7), (43, 0.8), (44, 0.9)):
        options = ["--config", "configs/names.yaml", "--data.data_dir", "data", "--seed_everything", str(seed)]
        summary = {name: {"mean": mean, "std": 0.5} for name in ("accuracy", "f1")}
        write_results("cv", summary, seed, options=options, folds=5, repeats=1)
    assert read(config).results("data") == {"accuracy": "0.8000 ± 0.1000", "macro F1": "0.8000 ± 0.1000"}


def test_a_row_of_the_readme_that_differs_is_reported_and_written(config: Path) -> None:
    Path("README.md").write_text(README.replace("0.8058", "0.9"))
    (line,) = check([read(config)], Path("README.md").read_text(), "data")
    assert line == "names: the header says accuracy 0.8058 ± 0.0100, README.md accuracy 0.9 ± 0.0100"
    write(read(config), read(config).scores, Path("README.md"))
    assert Path("README.md").read_text() == README
    assert config.read_text() == HEADER
