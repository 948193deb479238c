"""A run keeps its split: test, validate, predict and resume after the data has changed."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litnets.__main__ import main
from tests.helpers.interrupting import at

SMALL = ["--trainer.logger", "false", "--wandb.mode", "off", "--trainer.enable_progress_bar", "false"]
IMAGES = ["--model", "MLPClassifier", "--data", "ImageFolder", "--data.root", "noise", "--data.size", "8"]
TABLE = ["--model", "MLPClassifier", "--data", "TableCSV", "--data.path", "noise.csv", "--data.target", "kind"]


def write_noise(each: int = 30) -> None:
    """Write images of pure noise, in two classes."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        Path("noise", name).mkdir(parents=True)
        for index in range(each):
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"noise/{name}/{index:02}.png")


def write_noise_table(rows: list[str] | None = None) -> list[str]:
    """Write a table with random labels."""
    random = np.random.default_rng(0)
    if rows is None:
        values, labels = random.normal(size=(60, 3)), random.integers(0, 2, 60)
        rows = [",".join(map(str, [*row, ["no", "yes"][label]])) for row, label in zip(values, labels, strict=True)]
    Path("noise.csv").write_text("\n".join(["x,y,z,kind", *rows]) + "\n")
    return rows


def fit(*options: str) -> Path:
    assert main(["fit", *options, *SMALL]) == 0
    return max(Path("checkpoints").rglob("config.yaml"), key=lambda path: path.stat().st_mtime_ns).parent


def fit_images(*options: str) -> Path:
    write_noise()
    return fit(*IMAGES, "--trainer.max_epochs", "3", *options)


def run(capsys: pytest.CaptureFixture[str], command: str, run: Path, *options: str) -> list[str]:
    """Run a command and return the lines it prints."""
    capsys.readouterr()
    where = [str(run)] if command == "resume" else ["--config", str(run / "config.yaml")]
    assert main([command, *where, *options]) == 0
    return capsys.readouterr().out.splitlines()


def error_line(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    capsys.readouterr()
    assert main(list(args)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def results(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "results.json").read_text())
    return content


def metrics(lines: list[str]) -> list[str]:
    """Return the lines that belong to tables of results."""
    return [line for line in lines if line.startswith("  ") and line.strip()]


@pytest.mark.parametrize("command", ["test", "validate"])
@pytest.mark.slow
def test_results_do_not_change_when_an_image_is_copied_or_renamed(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    run_folder = fit_images()
    original = run(capsys, command, run_folder)
    assert not any(line.startswith("data:") or "changed" in line for line in original)
    shutil.copy("noise/a/00.png", "noise/a/00b.png")
    copied = run(capsys, command, run_folder)
    assert copied[0] == (
        "data: 1 file added and left out (a/00b.png) since the run; its split is kept "
        "(test --split_again splits the data again)"
    )
    assert "data changed since the training: 1 file added and left out (a/00b.png)" in copied[1]
    assert metrics(copied) == metrics(original)
    Path("noise/a/00b.png").unlink()
    Path("noise/b/07.png").rename("noise/b/zz.png")
    renamed = run(capsys, command, run_folder)
    assert renamed[0].startswith("data: 1 file renamed (b/zz.png) since the run; its split is kept")
    assert metrics(renamed) == metrics(original)


@pytest.mark.slow
def test_predict_uses_the_test_split_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    run_folder = fit_images()
    run(capsys, "predict", run_folder)
    before = (run_folder / "predictions.csv").read_text()
    shutil.copy("noise/a/00.png", "noise/a/00b.png")
    assert run(capsys, "predict", run_folder, "--overwrite")[0].startswith("data: 1 file added")
    assert (run_folder / "predictions.csv").read_text() == before


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (lambda rows: [*rows, rows[0]], {"added": 1, "left_out": 1}),
        (lambda rows: rows[::-1], {"reordered": True}),
        (lambda rows: rows, None),
    ],
    ids=["a duplicated row", "another order", "no change"],
)
@pytest.mark.slow
def test_resume_is_exact_when_rows_are_added_or_reordered(
    capsys: pytest.CaptureFixture[str], change: Any, reported: dict[str, Any] | None
) -> None:
    rows = write_noise_table()
    options = [*TABLE, "--recipe", "false", "--data.batch_size", "8", "--early_stopping.patience", "100"]
    uninterrupted = fit(*options, "--trainer.max_epochs", "6", "--experiment", "uninterrupted")
    resumable = fit(*options, "--trainer.max_epochs", "3", "--experiment", "resumed")
    write_noise_table(change(rows))
    printed = run(capsys, "resume", resumable, "--trainer.max_epochs", "6")
    assert any(line.startswith("data:") for line in printed) == (reported is not None)
    resumed, expected = results(resumable), results(uninterrupted)
    assert resumed.get("data_changes") == reported
    assert resumed["best"] == expected["best"]
    assert resumed["test"] == expected["test"]


@pytest.mark.slow
def test_resume_warns_if_training_samples_changed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_noise_table()
    run_folder = fit(*TABLE, "--trainer.max_epochs", "2")
    write_noise_table(rows[1:])
    printed = run(capsys, "resume", run_folder, "--trainer.max_epochs", "3")
    data_lines = [line for line in printed if line.startswith("data:")]
    assert data_lines == [
        "data: 1 row missing since the run; its split is kept",
        "data: the results will not equal those of an uninterrupted training",
    ]
    assert results(run_folder)["data_changes"] == {"missing": 1}


@pytest.mark.slow
def test_resume_within_an_epoch_refuses_changed_training_samples(capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_noise_table()
    options = [*TABLE, "--data.batch_size", "8", "--trainer.max_epochs", "2"]
    with pytest.raises(RuntimeError, match="crash"):
        main(["fit", *options, *SMALL, *at("on_train_batch_start", 8)])
    (config,) = Path("checkpoints").rglob("config.yaml")
    write_noise_table(rows[:20])
    line = error_line(capsys, "resume", str(config.parent))
    assert "cannot resume in the middle of an epoch" in line
    assert "training samples instead of 36" in line
    write_noise_table([*rows, rows[0]])
    assert main(["resume", str(config.parent)]) == 0


@pytest.mark.slow
def test_split_again(capsys: pytest.CaptureFixture[str]) -> None:
    run_folder = fit_images()
    Path("noise/a/00.png").rename("noise/a/zz.png")
    printed = run(capsys, "test", run_folder, "--split_again")
    assert not any(line.startswith("data:") and "kept" in line for line in printed)
    assert any("may have been trained on" in line for line in printed)
    line = error_line(capsys, "resume", str(run_folder), "--split_again")
    assert line.startswith("litnets: resume: --split_again would validate and test on training samples")
    config = str(run_folder / "config.yaml")
    line = error_line(capsys, "test", "--config", config, "--data.split_seed", "1")
    assert line == (
        "litnets: --data.split_seed: the split of the run was made with 0, got 1; omit the option to keep the split, "
        "or split the data again with --split_again"
    )
    assert main(["test", "--config", config, "--data.split_seed", "1", "--split_again"]) == 0


@pytest.mark.slow
def test_a_checkpoint_of_another_run_keeps_the_split_of_its_own_run(capsys: pytest.CaptureFixture[str]) -> None:
    first = fit_images("--data.split_seed", "1")
    second = fit(*IMAGES, "--trainer.max_epochs", "1")
    best = str(first / "best.ckpt")
    line = error_line(capsys, "test", "--config", str(second / "config.yaml"), "--ckpt_path", best)
    assert line.startswith("litnets: --data.split_seed: the split of the run was made with 1, got 0")
    options = ("--ckpt_path", best, "--data.split_seed", "1")
    expected = metrics(run(capsys, "test", first))
    assert metrics(run(capsys, "test", second, *options)) == expected
    shutil.copy(best, "elsewhere.ckpt")  # of no run, so that of the configuration counts
    capsys.readouterr()
    assert main(["test", "--config", str(first / "config.yaml"), "--ckpt_path", "elsewhere.ckpt"]) == 0
    assert metrics(capsys.readouterr().out.splitlines()) == expected


@pytest.mark.slow
def test_another_datamodule_does_not_use_the_split(capsys: pytest.CaptureFixture[str]) -> None:
    run_folder = fit_images()
    Path("my_images.py").write_text("from litnets import ImageFolder\n\nclass MyImages(ImageFolder): pass\n")
    mine = ("--data", "my_images.MyImages", "--data.root", "noise", "--data.size", "8")
    said = "data: the split of the run belongs to ImageFolder, so MyImages does not use it"
    assert said in run(capsys, "test", run_folder, *mine)
    assert said in run(capsys, "predict", run_folder, *mine)
    assert not any(line.startswith("data:") for line in run(capsys, "test", run_folder))


@pytest.mark.slow
def test_changed_data_with_a_checkpoint_without_hyperparameters(capsys: pytest.CaptureFixture[str]) -> None:
    """A LightningModule of the user, which may not save them."""
    Path("my_net.py").write_text(
        "from litnets import MLPClassifier\n\n"
        "class MyNet(MLPClassifier):\n"
        "    def on_save_checkpoint(self, checkpoint):\n"
        "        checkpoint.pop('hyper_parameters')\n"
    )
    write_noise()
    run_folder = fit("--model", "my_net.MyNet", *IMAGES[2:], "--trainer.max_epochs", "1")
    shutil.copy("noise/a/00.png", "noise/a/00b.png")
    assert run(capsys, "test", run_folder)[0].startswith("data: 1 file added and left out")


@pytest.mark.slow
def test_a_run_without_a_recorded_split_is_tested_and_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    run_folder = fit_images()
    before = run(capsys, "test", run_folder)
    (run_folder / "split.npz").unlink()
    assert run(capsys, "test", run_folder) == before
    shutil.copy("noise/a/00.png", "noise/a/00b.png")
    assert not any(line.startswith("data:") for line in run(capsys, "test", run_folder))
    assert not any(line.startswith("data:") for line in run(capsys, "resume", run_folder, "--trainer.max_epochs", "4"))
    assert not (run_folder / "split.npz").exists()  # a new record might not match the split of the run


def test_a_damaged_split_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run_folder = fit_images()
    path = run_folder / "split.npz"
    for damaged in (path.read_bytes()[:-30], b"", b"not an archive"):
        path.write_bytes(damaged)
        assert str(path) in error_line(capsys, "test", "--config", str(run_folder / "config.yaml")), damaged
    path.unlink()
    path.mkdir()
    assert str(path) in error_line(capsys, "test", "--config", str(run_folder / "config.yaml"))


@pytest.mark.slow
def test_a_text_run_is_tested_after_texts_are_removed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"word{i} {'good' if i % 2 else 'bad'},{'ab'[i % 2]}" for i in range(40)]
    Path("texts.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    texts = ["--data", "TextFiles", "--data.path", "texts.csv", "--data.min_count", "1"]
    run_folder = fit("--model", "RNNClassifier", *texts, "--trainer.max_epochs", "1")
    Path("texts.csv").write_text("\n".join(["text,label", *lines[8:]]) + "\n")
    printed = run(capsys, "test", run_folder)  # the vocabulary is that of the run, although some words are missing now
    assert printed[0].startswith("data: 8 rows missing since the run")


def test_fast_dev_run_records_no_split() -> None:
    write_noise()
    assert main(["fit", *IMAGES, *SMALL, "--trainer.fast_dev_run", "true"]) == 0
    assert not list(Path().rglob("split.npz"))
