"""test_predictions.parquet and val_predictions.parquet: the recorded numbers give the metrics of the test again."""

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from sklearn.metrics import r2_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import litnets
from litnets.__main__ import main
from litnets.analysis.pixel_counts import PixelCounts
from litnets.data import Digits, SegmentationFolder, SeriesCSV, TableCSV, TextFiles
from litnets.errors import InputError
from litnets.runs import recorded_predictions
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions, choose_samples
from litnets.tasks import Classifier, CNNClassifier, Forecaster, LinearForecaster, Regressor, RNNClassifier, Segmenter
from litnets.training.record_predictions import RecordPredictions, _SampleResults
from tests.helpers.tiny_masks import write_masked_images
from tests.helpers.tiny_series import waves, write_series
from tests.helpers.tiny_tables import write_csv
from tests.helpers.tiny_text import rows, write_texts

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

CLASSES = ["ant", "bee", "cat"]


def evaluate(module: LightningModule, data: Any, **kwargs: Any) -> dict[str, float]:
    """Test a module, record its predictions in the working directory, and return the metrics."""
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[RecordPredictions(Run(Path()), locks=True)],
        **kwargs,
    )
    (metrics,) = trainer.test(module, data, verbose=False)
    return {name.removeprefix("test/"): value for name, value in metrics.items()}


def recorded(part: str = "test") -> RecordedPredictions:
    return RecordedPredictions.load(Run(Path()).recorded_predictions(part))


def loader(targets: Tensor, *shape: int) -> DataLoader[Any]:
    """Return random inputs with targets, in batches of four."""
    inputs = torch.randn(len(targets), *shape, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(inputs, targets), batch_size=4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_smoothing": 0.1, "class_weights": [1.0, 0.25, 3.0]},
        {"class_weights": [0.0, 1.0, 2.0]},
        {"loss_args": {"ignore_index": 1}},
        {"loss": "MultiMarginLoss"},
    ],
)
def test_classes(options: dict[str, Any]) -> None:
    targets = torch.tensor([0, 0, 0, 0, 1, 2, 1, 2, 1, 1, 0])
    metrics = evaluate(Classifier(nn.Identity(), 3, class_names=CLASSES, **options), loader(targets, 3))
    predictions = recorded()
    frame = predictions.frame
    assert frame["index"].to_list() == list(range(11))
    assert frame["target"].to_list() == [CLASSES[i] for i in targets]
    assert (frame["target"] == frame["prediction"]).mean() == pytest.approx(metrics["accuracy"], abs=1e-6)
    weights = frame["loss_weight"].to_numpy() if "loss_weight" in frame else None
    assert np.average(frame["loss"].to_numpy(), weights=weights) == pytest.approx(metrics["loss"], rel=1e-6)
    logits = torch.from_numpy(frame.select(f"logit_{name}" for name in CLASSES).to_numpy())
    torch.testing.assert_close(frame["probability"].to_torch(), logits.softmax(1).amax(1))
    assert predictions.description == {
        "split": "test",
        "samples": 11,
        "recorded": 11,
        "class_names": CLASSES,
        "multilabel": False,
    }


def test_a_single_logit() -> None:
    targets = torch.tensor([0, 1, 1, 0, 1])
    model = Classifier(nn.Identity(), 2, class_names=["no", "yes"], loss="BCEWithLogitsLoss")
    metrics = evaluate(model, loader(targets, 1))
    frame = recorded().frame
    assert frame.columns == ["index", "target", "prediction", "probability", "loss", "logit"]
    assert ((frame["logit"] > 0) == (frame["prediction"] == "yes")).all()
    assert (frame["target"] == frame["prediction"]).mean() == pytest.approx(metrics["accuracy"], abs=1e-6)
    assert frame["loss"].mean() == pytest.approx(metrics["loss"], rel=1e-6)


@pytest.mark.parametrize("loss", ["BCEWithLogitsLoss", "MultiLabelSoftMarginLoss"])
def test_several_labels(loss: str) -> None:
    targets = torch.tensor([[0, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0]])
    metrics = evaluate(
        Classifier(nn.Identity(), 3, class_names=CLASSES, multilabel=True, loss=loss), loader(targets, 3)
    )
    frame = recorded().frame
    hits = [(frame[f"target_{name}"] == frame[f"prediction_{name}"]).mean() for name in CLASSES]
    assert np.mean(hits) == pytest.approx(metrics["accuracy"], abs=1e-6)
    assert frame["loss"].mean() == pytest.approx(metrics["loss"], rel=1e-6)
    assert [f"logit_{name}" in frame for name in CLASSES] == [True] * 3
    assert "probability" not in frame


@pytest.mark.parametrize("names", [["price"], ["price", "size"]])
def test_numbers(names: list[str]) -> None:
    size = len(names)
    targets = 300 + 50 * torch.randn(11, size, generator=torch.Generator().manual_seed(1))
    scale = {"target_mean": [300.0] * size, "target_std": [50.0] * size}
    metrics = evaluate(Regressor(nn.Identity(), size, names, loss="HuberLoss", **scale), loader(targets, size))
    predictions = recorded()
    columns = [[name if size == 1 else f"{name}_{target}" for target in names] for name in ("target", "prediction")]
    true, predicted = (predictions.frame.select(part).to_numpy() for part in columns)
    np.testing.assert_array_equal(true, targets)
    assert r2_score(true, predicted) == pytest.approx(metrics["r2"], abs=1e-6)
    assert predictions.frame["loss"].mean() == pytest.approx(metrics["loss"], rel=1e-6)
    assert predictions.description["target_std"] == [50.0] * size


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_a_forecast_has_a_row_for_each_step(loss: Any) -> None:
    targets = torch.randn(6, 3, 2, generator=torch.Generator().manual_seed(1))
    names, mean, std = ["load", "OT"], [3.0, -20.0], [0.5, 8.0]
    model = Forecaster(nn.Identity(), 3, names, mean, std, loss=loss)
    metrics = evaluate(model, loader(targets, 3, 2))
    predictions = recorded()
    frame = predictions.frame
    assert frame["index"].to_list() == [i for i in range(6) for _ in range(3)]
    assert frame["step"].to_list() == [1, 2, 3] * 6
    np.testing.assert_allclose(frame["target_OT"], targets[..., 1].flatten() * 8 - 20, rtol=1e-6)
    errors = [(frame[f"prediction_{name}"] - frame[f"target_{name}"]).to_numpy() for name in names]
    scaled = [error / std for error, std in zip(errors, predictions.description["channel_std"], strict=True)]
    assert np.square(scaled).mean() == pytest.approx(metrics["mse"], rel=1e-6)
    assert frame["loss"].mean() == pytest.approx(metrics["loss"], rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"class_weights": [1.0, 0.25, 3.0]}])
def test_masks_have_a_row_for_each_image(options: dict[str, Any]) -> None:
    data = masked_images()
    metrics = evaluate(segmenter(**options), data)
    predictions = recorded()
    frame, names = predictions.frame, data.class_names
    counts = PixelCounts.of(predictions)
    assert counts is not None
    assert counts.iou() == pytest.approx(metrics["iou"], abs=1e-6)
    for i, name in enumerate(names):
        assert counts.both[:, i].sum() / counts.either[:, i].sum() == pytest.approx(metrics[f"iou/{name}"], abs=1e-6)
    pixels = frame["pixels"].to_numpy()
    assert np.average(frame["accuracy"].to_numpy(), weights=pixels) == pytest.approx(metrics["accuracy"], abs=1e-6)
    loss = np.average(frame["loss"].to_numpy(), weights=frame["loss_weight"].to_numpy())
    assert loss == pytest.approx(metrics["loss"], rel=1e-5)
    assert frame["file"].to_list() == data.split_columns("test", frame["index"].to_torch())["file"]
    for file, row in zip(frame["file"], frame.iter_rows(named=True), strict=True):
        with Image.open(Path("data", "masks", Path(file).name)) as opened:
            mask = np.array(opened)
        assert row["pixels"] == mask.size
        assert [row[f"target_fraction_{name}"] for name in names] == [(mask == i).mean() for i in range(3)]
        assert sum(row[f"prediction_fraction_{name}"] for name in names) == pytest.approx(1)
        assert row["mean_iou"] == pytest.approx(np.mean([row[f"iou_{name}"] for name in names]))
    assert len(recorded("val").frame) == predictions.description["samples"] == 4


def test_tiles_of_an_image_are_joined_across_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = masked_images()
    evaluate(segmenter(), data)
    processes = []
    for rank in range(2):
        monkeypatch.setattr(data, "_process", lambda rank=rank: (rank, 2))
        results = _SampleResults.of(data.test_dataloader(), segmenter())
        assert results is not None
        for batch in data.test_dataloader():
            images, masks = data.on_after_batch_transfer(batch, 0)
            with torch.inference_mode():
                results.add(results.module(images), masks)
        processes.append(results)

    def all_gather_object(gathered: list[Any], own: Any) -> None:
        gathered[:] = [results.part() for results in processes]

    monkeypatch.setattr(torch.distributed, "all_gather_object", all_gather_object)
    joined = processes[0].gather(SimpleNamespace(world_size=2))  # type: ignore[arg-type]
    assert joined is not None
    assert joined.samples == 4
    frame = recorded().frame
    for name in ("pixels", "accuracy", "mean_iou", "loss"):
        np.testing.assert_array_equal(joined.columns[name], frame[name])


def masked_images() -> SegmentationFolder:
    """Return images of several sizes with their masks, each evaluated in several tiles, one at a time."""
    write_masked_images(Path("data"), [(23, 31), (9, 40), (33, 27), (40, 33)] * 3)
    data = SegmentationFolder("data", crop_size=16, val_size=4, test_size=4, eval_batch_size=1)
    data.setup()
    return data


def segmenter(**options: Any) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(nn.Conv2d(3, 3, 1), 3, 255, ["0", "1", "2"], **options).eval()


def test_both_splits_are_recorded_as_they_are_tested() -> None:
    data = Digits(eval_batch_size=100)
    data.setup()
    model = CNNClassifier(input_shape=data.input_shape, num_classes=data.num_classes, widths=[4], tta="mirror")
    metrics = evaluate(model, data)
    test, val = recorded().frame, recorded("val").frame
    assert (test["target"] == test["prediction"]).mean() == pytest.approx(metrics["accuracy"], abs=1e-6)
    for part, frame in (("test", test), ("val", val)):
        indices = data.splits[part].indices
        assert frame["row"].to_list() == [str(i + 1) for i in indices.tolist()]
        batch = data.on_after_batch_transfer((data.splits[part][:][0], data.splits[part][:][1]), 0)
        with torch.inference_mode():
            logits = model.eval().test_forward(batch[0])
        np.testing.assert_allclose(frame["logit_3"], logits[:, 3], rtol=1e-4, atol=1e-6)


def test_sequences_that_are_sorted_by_length_are_recorded_in_order() -> None:
    write_texts(Path("texts.csv"), rows(60))
    data = TextFiles("texts.csv", eval_batch_size=5)
    data.setup()
    linked = {name: getattr(data, name) for name in ("input_shape", "num_classes", "class_names", "vocab_size")}
    evaluate(RNNClassifier(**linked), data)
    for part in ("test", "val"):
        frame, split = recorded(part).frame, data.splits[part]
        assert frame["target"].to_list() == [data.class_names[i] for i in split.targets[split.indices].tolist()]
        assert frame["row"].to_list() == [str(i + 1) for i in split.indices.tolist()]


def test_windows_are_identified_by_time() -> None:
    write_series(Path("series.csv"), waves(80, 2), ["load", "OT"])
    data = SeriesCSV("series.csv", look_back=6, horizon=3)
    data.setup()
    names = ("input_shape", "horizon", "channel_names", "channel_mean", "channel_std")
    evaluate(LinearForecaster(**{name: getattr(data, name) for name in names}), data)
    frame = recorded("val").frame
    first = int(data.splits["val"].indices[0]) + 6
    assert frame["time"][:3].to_list() == data.times[first : first + 3]
    assert frame["target_OT"][:3].to_list() == pytest.approx(waves(80, 2)[first : first + 3, 1].tolist(), abs=1e-5)


def test_many_samples_are_sampled(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(recorded_predictions, "MAX_ROWS", 14)
    targets = torch.randn(10, 3, 1)
    model = Forecaster(nn.Identity(), 3, ["OT"], [0.0], [1.0])
    evaluate(model, loader(targets, 3, 1))
    predictions = recorded()
    indices = predictions.frame["index"].unique().to_list()
    assert len(indices) == 4
    assert len(predictions.frame) == 12
    assert (predictions.description["samples"], predictions.description["recorded"]) == (10, 4)
    assert "test_predictions.parquet: 4 of 10 samples, chosen at random" in capsys.readouterr().out
    evaluate(model, loader(targets, 3, 1))
    assert recorded().frame["index"].unique().to_list() == indices


def test_large_rows_are_sampled() -> None:
    assert choose_samples(1000, 1, 4.0).all()
    assert choose_samples(1000, 1, 1e6).sum() == 200
    assert choose_samples(1000, 5_000_000, 1.0).sum() == 1  # a single sample may be larger


class NotATask(LightningModule):
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/loss", 0.0)


class OwnLoss(nn.Module):
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.gather(1, targets.unsqueeze(1)) - 1).square().mean()


@pytest.mark.filterwarnings("ignore:Your `test_dataloader`'s sampler has shuffling enabled")
def test_what_cannot_be_recorded() -> None:
    targets = torch.tensor([0, 1, 2])
    evaluate(Classifier(nn.Identity(), 3, loss=f"{__name__}.OwnLoss"), loader(targets, 3))
    assert "loss" not in recorded().frame  # it may not be a mean over samples
    evaluate(Classifier(nn.Identity(), 3), DataLoader(loader(targets, 3).dataset, shuffle=True))
    assert len(recorded().frame) == 3  # of the earlier test: the order of this one is unknown
    Run(Path()).recorded_predictions("test").unlink()
    evaluate(NotATask(), loader(targets, 3))
    assert not list(Path().iterdir())


def test_a_second_test_replaces_the_first() -> None:
    evaluate(Classifier(nn.Identity(), 3), loader(torch.tensor([0, 1, 2]), 3))
    Path("val_predictions.parquet").write_text("of an earlier test")
    evaluate(Classifier(nn.Identity(), 3), loader(torch.tensor([2, 1]), 3))
    assert recorded().frame["target"].to_list() == ["2", "1"]
    assert [path.name for path in Path().iterdir()] == ["test_predictions.parquet"]


def test_no_record_of_an_earlier_test_remains_if_the_disk_is_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(frame: pl.DataFrame, *args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for part in ("test", "val"):
        Path(f"{part}_predictions.parquet").write_text("of an earlier test")
    monkeypatch.setattr(pl.DataFrame, "write_parquet", fail)
    evaluate(Classifier(nn.Identity(), 3), loader(torch.tensor([0, 1, 2]), 3))
    assert "note: the predictions are not recorded" in capsys.readouterr().out
    assert not list(Path().iterdir())


def test_a_run_in_use_is_not_written_into(capsys: pytest.CaptureFixture[str]) -> None:
    owner = Run(Path())
    owner.lock()
    evaluate(Classifier(nn.Identity(), 3), loader(torch.tensor([0, 1, 2]), 3))
    assert "note: the predictions are not recorded: . is in use" in capsys.readouterr().out
    assert not Path("test_predictions.parquet").exists()
    owner.unlock()


@pytest.mark.slow
def test_new_data_do_not_replace_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write_csv(Path("table.csv")))
    data = TableCSV(path, "bought", ignore=["price"])
    run = litnets.fit(litnets.MLPClassifier, data, max_epochs=1, logger=False, enable_progress_bar=False).folder
    files = [run / "test_predictions.parquet", run / "val_predictions.parquet"]
    before = [file.read_bytes() for file in files]
    assert main(["test", str(run), "--on", path]) == 0
    assert [file.read_bytes() for file in files] == before
    files[1].unlink()
    assert main(["test", str(run)]) == 0
    assert [file.read_bytes() for file in files] == before


def test_damaged_files_are_named() -> None:
    path = Path("test_predictions.parquet")
    for content in (b"", b"not Parquet"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"^test_predictions.parquet is damaged"):
            RecordedPredictions.load(path)
