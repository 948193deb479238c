"""Texts from fit to predict: predictions keep the order of the samples, checkpoints keep the vocabulary."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from litnets import RNNClassifier, TextFiles
from litnets.__main__ import main
from litnets.errors import InputError
from tests.helpers.tiny_text import rows, write_texts

SMALL = ["--trainer.max_epochs", "3", "--trainer.precision", "32-true"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        ["RNNClassifier", "--model.hidden_size", "8"],
        ["CNN1dClassifier", "--model.widths", "[8]"],
        ["TransformerClassifier", "--model.hidden_size", "8"],
    ],
    ids=lambda options: options[0],
)
def test_predictions_keep_the_order_of_the_samples(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_texts(tmp_path / "t.csv", rows())
    data = ["--data", "TextFiles", "--data.path", str(path), "--data.eval_batch_size", "7", "--data.batch_size", "16"]
    assert main(["fit", "--model", *model, *data, "--model.lr", "0.03", "--calibrate", "false", *SMALL]) == 0
    (run,) = next(Path("checkpoints").iterdir()).iterdir()
    assert main(["predict", "--config", str(run / "config.yaml")]) == 0
    assert capsys.readouterr().err == ""
    with (run / "predictions.csv").open() as file:
        predictions = list(csv.DictReader(file))

    import litnets

    net = getattr(litnets, model[0]).load_from_checkpoint(run / "best.ckpt", weights_only=True).eval()
    test = TextFiles(str(path))
    test.setup()
    assert len(predictions) == len(test.splits["test"])
    for i, row in enumerate(predictions):
        (tokens, length), _ = test.splits["test"][torch.tensor(i)]
        probabilities = net((tokens[None].long(), length[None])).softmax(1)[0]
        assert int(row["index"]) == i
        assert row["prediction"] == "abc"[int(probabilities.argmax())]
        assert [float(row[f"probability_{name}"]) for name in "abc"] == pytest.approx(probabilities.tolist(), abs=1e-4)


@pytest.mark.parametrize("model", ["MLPClassifier", "CNNClassifier"])
def test_an_unsuitable_network_is_refused_with_alternatives(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_texts(tmp_path / "t.csv", rows())
    assert main(["fit", "--model", model, "--data", "TextFiles", "--data.path", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"litnets: {model} reads ")
    assert "one input of the data is a text (any): use RNNClassifier, CNN1dClassifier or" in error


def test_invalid_input_is_reported_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_bytes(b"text,label\nok,a\ncaf\xe9,b\n")
    command = ["fit", "--model", "RNNClassifier", "--data", "TextFiles", "--data.path", str(tmp_path / "t.csv")]
    assert main(command) == 2
    assert capsys.readouterr().err == (
        f"litnets: {tmp_path}/t.csv, line 3: not UTF-8 (byte 0xe9 at offset 19); save the file as UTF-8\n"
    )


@pytest.mark.slow
def test_a_checkpoint_holds_vocabulary_and_classes(tmp_path: Path) -> None:
    path = write_texts(tmp_path / "t.csv", rows())
    data = ["--data", "TextFiles", "--data.path", str(path)]
    assert main(["fit", "--model", "RNNClassifier", "--model.hidden_size", "8", *data, *SMALL]) == 0
    (run,) = next(Path("checkpoints").iterdir()).iterdir()
    content = torch.load(run / "best.ckpt", weights_only=True)
    trained = TextFiles(str(path))
    trained.setup()
    assert content["TextFiles"] == trained.state_dict()
    assert (
        content["hyper_parameters"]["vocab_size"]
        == trained.vocab_size
        == len(content["TextFiles"]["vocabulary"]["tokens"])
    )
    model = RNNClassifier.load_from_checkpoint(run / "best.ckpt", weights_only=True)
    assert model.class_names == trained.class_names


def test_token_dropout_applies_to_training_only(tmp_path: Path) -> None:
    data = TextFiles(str(write_texts(tmp_path / "t.csv", rows(600))), batch_size=600, token_dropout=0.25, min_count=1)
    data.setup()
    batch: Any = next(iter(data.train_dataloader()))
    (before, lengths), _ = batch
    for training in (False, True):
        data.trainer = SimpleNamespace(training=training)  # type: ignore[assignment]
        (after, _), _ = data.on_after_batch_transfer(batch, 0)
        mask = torch.arange(after.shape[1]) < lengths[:, None]
        assert (after[~mask] == 0).all()
        changed = after[mask] != before[mask]
        assert (after[mask][changed] == 1).all()
        assert changed.float().mean().item() == pytest.approx(0.25 if training else 0, abs=0.03)
    with pytest.raises(InputError, match="token_dropout"):
        TextFiles("t.csv", token_dropout=1.0)


def test_a_text_in_place_of_a_file_is_explained(tmp_path: Path) -> None:
    data = TextFiles(str(tmp_path / "t.csv"))
    with pytest.raises(InputError, match=r"^Müller: no such file; to predict texts, pass - and write one"):
        next(data.iter_new(Path("Müller"), 1))
