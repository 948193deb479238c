"""The report of a run: what it shows, and that it is one page that loads and runs nothing."""

import io
import json
import re
import tracemalloc
import wave
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from litnets.analysis.report import build_report, is_quick
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.runs.stored_inputs import StoredInput, save_inputs
from tests.helpers.tiny_runs import record, write_run

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The elements, texts and addresses of a page; every element must be closed in its order."""

    EMPTY = ("meta", "img", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def page_of(run: Run) -> Page:
    return Page(build_report(run).html)


def record_classes(run: Run, names: list[str], samples: int = 60, **columns: Any) -> None:
    """Record a classifier that is wrong for every fifth sample."""
    generator = np.random.default_rng(0)
    targets = np.arange(samples) % len(names)
    predictions = np.where(np.arange(samples) % 5 == 4, (targets + 1) % len(names), targets)
    logits = generator.normal(size=(samples, len(names))) * 0.1 + 3 * np.eye(len(names))[predictions]
    frame = pl.DataFrame(
        {
            "index": range(samples),
            "row": [f"t.csv:{i + 2}" for i in range(samples)],
            "target": np.array(names)[targets],
            "prediction": np.array(names)[predictions],
            "probability": np.full(samples, 0.9),
            "loss": np.where(predictions == targets, 0.1, 3.0) + np.arange(samples) / 1000,
            **{f"logit_{name}": logits[:, i] for i, name in enumerate(names)},
            **columns,
        }
    )
    description = {"split": "test", "samples": samples, "recorded": samples, "class_names": names, "multilabel": False}
    RecordedPredictions(frame, description).save(run.recorded_predictions("test"))


def png(size: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(size * size, dtype=np.uint8).reshape(size, size)).save(file, "PNG")
    return file.getvalue()


def test_the_page_loads_nothing_runs_nothing_and_escapes_what_comes_from_data() -> None:
    run = write_run(EVIL.replace("/", "-"))
    record_classes(run, ["cat", EVIL, "a,b|*c*"], slice_site=["<b>north</b>", "south"] * 30)
    run.write_json(run.environment, {"command": f"litnets fit {EVIL}", "versions": {EVIL: "1"}})
    report = build_report(run)
    page = Page(report.html)
    assert not page.tags & {"script", "link", "iframe", "object", "b"}
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not re.search(r"https?://", report.html.replace("http-equiv", ""))
    assert EVIL in page.text
    assert "<script" not in report.model_card
    assert "<b>north</b>" in page.text


def test_the_bytes_are_the_same_on_every_run() -> None:
    run = write_run("1")
    record_classes(run, ["cat", "dog"])
    first = build_report(run)
    assert build_report(run) == first
    first.save(run)
    assert run.report.read_text() == first.html
    assert run.model_card.read_text() == first.model_card


def test_a_classifier_has_its_matrix_classes_curves_and_mistakes() -> None:
    run = write_run("1", accuracy=0.8)
    record_classes(run, ["cat", "dog", "owl"], slice_length=list(range(60)), site=["north", "south"] * 30)
    text = page_of(run).text
    for part in ("Confusion matrix", "Per class", "Most confused", "ROC, one against rest", "Reliability", "By length"):
        assert part in text
    assert "Test accuracy 0.8000 [0." in text
    assert "By site" in text  # a column that the data carry
    assert "The network predicts 12 of 60 test samples incorrectly." in text
    assert "Decision thresholds" not in text
    assert text.index("t.csv:61") < text.index("t.csv:56")  # the highest loss first


def test_two_classes_have_a_table_of_thresholds() -> None:
    run = write_run("1")
    record_classes(run, ["no", "yes"])
    assert "Decision thresholds for yes" in page_of(run).text


def test_more_than_a_hundred_classes_have_no_matrix_but_the_most_confused() -> None:
    run = write_run("1")
    record_classes(run, [f"class {i}" for i in range(101)], samples=404)
    text = page_of(run).text
    assert "no confusion matrix, because there are 101 classes" in text
    assert "Most confused" in text


def test_multilabel_targets_have_scores_of_each_label() -> None:
    run = write_run("1")
    generator = np.random.default_rng(0)
    target, logits = generator.integers(0, 2, (40, 3)), generator.normal(size=(40, 3))
    columns = {"index": range(40)}
    for i, name in enumerate("abc"):
        columns |= {f"target_{name}": target[:, i], f"prediction_{name}": (logits[:, i] > 0).astype(int)}
        columns |= {f"logit_{name}": logits[:, i]}
    columns |= {"slice_size": np.where(np.arange(40) < 20, np.nan, np.arange(40) % 2)}  # NaN is missing
    recorded = RecordedPredictions(pl.DataFrame(columns), {"class_names": list("abc"), "multilabel": True})
    recorded.save(run.recorded_predictions("test"))
    text = page_of(run).text
    assert "Confusion matrix" not in text
    assert "Per class" in text
    assert "test samples incorrectly" in text
    assert "By size\nsize\nsamples\nsubset accuracy\n" in re.sub(r"\s*\n\s*", "\n", text)


def test_a_regression_has_residuals_and_its_largest_errors() -> None:
    run = write_run("1")
    frame = pl.DataFrame({"index": range(30), "row": list("abcdefghijklmnopqrstuvwxyzABCD"), "target": np.arange(30.0)})
    frame = frame.with_columns(prediction=pl.col("target") + pl.when(pl.col("row") == "q").then(9.0).otherwise(0.5))
    description = {"target_names": ["price"], "target_std": [2.0], "samples": 30, "recorded": 30}
    RecordedPredictions(frame, description).save(run.recorded_predictions("test"))
    text = page_of(run).text
    assert "Predicted against true" in text
    assert re.search(
        r"Largest errors\s+sample\s+true\s+predicted\s+error in standard deviations\s+q\s+16\s+25\s+4.5", text
    )


def record_forecast(run: Run, windows: int = 40, steps: int = 3) -> None:
    series = np.sin(np.arange(windows + steps) * np.pi / 6)  # a period of twelve steps
    truth = np.stack([series[i : i + steps] for i in range(windows)])
    frame = pl.DataFrame(
        {
            "index": np.repeat(np.arange(windows), steps),
            "step": np.tile(np.arange(1, steps + 1), windows),
            "target": truth.ravel(),
            "prediction": truth.ravel() * 0.9,
        }
    )
    description = {"channel_names": ["load"], "channel_std": [1.0], "samples": windows, "recorded": windows}
    RecordedPredictions(frame, description).save(run.recorded_predictions("test"))


def test_a_forecast_has_windows_and_the_error_of_each_step_beside_simple_forecasts() -> None:
    run = write_run("1")
    record_forecast(run)
    scores = {"mse": 0.1, "mae": 0.2}
    run.write_json(run.baselines, {"last value": scores, "last 4 steps": scores})
    text = page_of(run).text
    assert "load, largest error" in text
    assert "history" in text
    figure = text[text.index("Error by step") :]
    assert "last value" in figure
    assert "last 4 steps" in figure  # chosen on the training split, although 12 steps repeat the test split
    assert "last 12 steps" not in text


def test_an_untested_run_has_its_curves_weights_and_the_command_that_tests_it() -> None:
    run = write_run("1")
    run.update_results(forget=["test"])
    run.metrics.write_text("epoch,step,train/loss,val/loss,lr\n0,9,2.0,1.5,\n1,19,1.0,1.2,0.001\n")
    weights = {"net.weight": torch.ones(3, 4), "net.bias": torch.zeros(3), "net._extra_state": {"scale": 1.0}}
    torch.save({"state_dict": weights}, run.best)
    text = page_of(run).text
    assert "litnets test" in text
    assert "Best epoch: 3" in text
    assert "3 × 4" in text  # noqa: RUF001
    assert "net.bias" not in text


@pytest.mark.parametrize(
    ("score", "line"),
    [
        (0.6, "The network beats the best baseline, majority (accuracy 0.6000)"),
        (0.82, "The network may not be better than the baseline majority (accuracy 0.8200)"),
        (0.9, "The network does not beat the baseline majority (accuracy 0.9000)"),
    ],
)
def test_the_first_line_compares_with_the_best_baseline(score: float, line: str) -> None:
    run = write_run("1", accuracy=0.85)
    record_classes(run, ["cat", "dog"])
    baselines = {"random": {"accuracy": 0.5, "seconds": 0.1}, "majority": {"accuracy": score}}
    run.write_json(run.baselines, baselines)
    assert line in page_of(run).text


def wav(sample_bytes: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(sample_bytes)
        sound.setframerate(8000)
        sound.writeframes((np.sin(np.arange(4000)) * 9000).astype("<i2").tobytes())
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(20, dtype=np.float32).reshape(10, 2))
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "content", "shown"),
    [
        ("image", png(), "<img"),
        ("text", b"<i>a review</i>", "&lt;i&gt;a review"),
        ("audio", wav(), "<audio controls"),
        ("series", npy(), "<path"),
        ("row", json.dumps({"age": 31, "<i>city</i>": "Paris"}).encode(), "&lt;i&gt;city"),
        (
            "row",
            json.dumps({"income": 26614.6, "age": None}).encode(),
            "<td>26,615</td></tr><tr><th>age</th><td>missing<",
        ),
    ],
    ids=["image", "text", "audio", "series", "row", "cells"],
)
def test_mistakes_are_shown_with_their_inputs(kind: Any, content: bytes, shown: str) -> None:
    run = write_run("1")
    record_classes(run, ["cat", "dog", "owl"])
    inputs = [StoredInput("test", 59, "mistake", kind, content), StoredInput("train", 3, "example", kind, content)]
    save_inputs(run.inputs, inputs)
    html = build_report(run).html
    assert "Inputs of the training split" in html
    mistake = html.partition("Worst mistakes")[2].partition("</section>")[0]
    assert shown in mistake
    assert "true: owl" in mistake
    assert "predicted: cat" in mistake
    Page(html)


def test_inputs_beyond_the_limit_of_the_page_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litnets.analysis.report.build._MAX_INPUT_BYTES", len(png()) * 4 // 3 + 5)
    run = write_run("1")
    record_classes(run, ["cat", "dog"])
    save_inputs(run.inputs, [StoredInput("test", index, "example", "image", png()) for index in range(3)])
    html = build_report(run).html
    assert html.count("<img") == 1
    assert "2 images or sounds are left out" in html


def huge_png() -> bytes:
    file = io.BytesIO()
    Image.new("1", (4_000, 4_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["mask", "audio", "series"])
def test_inputs_that_litnets_does_not_store_are_damaged(kind: Any) -> None:
    scalar = io.BytesIO()
    np.save(scalar, np.float32(1))
    content = {"mask": huge_png(), "audio": wav(sample_bytes=3), "series": scalar.getvalue()}[kind]
    run = write_run("1")
    record_classes(run, ["cat", "dog"])
    kinds: Any = {"image": png(), kind: content} if kind == "mask" else {kind: content}
    save_inputs(run.inputs, [StoredInput("test", 4, "mistake", name, part) for name, part in kinds.items()])
    with pytest.raises(InputError, match=r"inputs\.parquet is damaged \(test 4"):
        build_report(run)


def test_the_largest_figure_of_a_page_above_the_limit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run("1")
    record_classes(run, [f"class {i}" for i in range(30)])
    complete = build_report(run).html
    monkeypatch.setattr("litnets.analysis.report.build._MAX_BYTES", len(complete.encode()) - 1)
    html = build_report(run).html
    assert html.count("<svg") == complete.count("<svg") - 1
    matrix = html.partition("<h3>Confusion matrix</h3>")[2].partition("</figure>")[0]
    assert "This figure is left out, because the page is limited to 5 MB." in matrix
    Page(html)
    monkeypatch.setattr("litnets.analysis.report.build._MAX_BYTES", 1000)
    assert build_report(run).html.count("This figure is left out") == complete.count("<figure")  # the texts remain


def test_masks_are_laid_over_their_image() -> None:
    run = write_run("1")
    run.update_results(test={"iou": 0.5}, test_per_class={"road": {"iou": 0.4}, "sky": {"iou": None}})
    names = ["road", "sky"]
    columns: dict[str, Any] = {"index": [0, 1], "pixels": [64, 64], "mean_iou": [0.9, 0.2], "accuracy": [0.9, 0.3]}
    for name in names:
        columns |= {f"iou_{name}": [0.9, 0.2], f"target_fraction_{name}": [0.5, 0.5]}
        columns |= {f"prediction_fraction_{name}": [0.5, 0.5]}
    RecordedPredictions(pl.DataFrame(columns), {"class_names": names}).save(run.recorded_predictions("test"))
    kinds: Any = ("image", "mask", "predicted_mask")
    save_inputs(run.inputs, [StoredInput("test", i, "mistake", kind, png()) for i in (0, 1) for kind in kinds])
    html = build_report(run).html
    assert html.count("<img") == 6
    assert html.index("mean IoU 0.200") < html.index("mean IoU 0.900")
    assert "IoU per class" in html
    assert '<i style="background:var(--c7)"></i>road' in html


def test_the_data_card_shows_splits_classes_and_columns() -> None:
    run = write_run("1")
    splits = {
        "train": {"samples": 1200, "class_counts": [1000, 200], "inputs": {"missing": {"age": 7}}},
        "test": {"samples": 300, "class_counts": [250, 50]},
    }
    values = {"mean": 40.0, "std": 9.5, "min": 18, "max": 90}
    columns = [{"name": "age", "type": "number", "missing": 7, "values": values}]
    run.write_json(run.data, {"class_names": ["cat", "dog"], "splits": splits, "columns": columns})
    text = page_of(run).text
    for part in ("1,200", "1,000", "missing: age", "40 ± 9.5 [18 to 90]"):
        assert part in text


def test_explanations_are_shown_with_their_check() -> None:
    run = write_run("1")
    (run.folder / "explain").mkdir()
    (run.folder / "explain" / "a.png").write_bytes(png())
    listed = {"method": "saliency", "picture": "a.png", "caption": "what", "passed": False, "check": "too large"}
    run.write_json(run.folder / "explain" / "explain.json", {"explanations": [listed], "notes": ["no units: why"]})
    text = page_of(run).text
    assert "CHECK FAILED: too large" in text
    assert "no units: why" in text
    listed["picture"] = "../../../secret.png"
    run.write_json(run.folder / "explain" / "explain.json", {"explanations": [listed]})
    with pytest.raises(InputError, match="there is no picture"):
        build_report(run)


def test_a_huge_explanation_is_not_read_completely() -> None:
    run = write_run("1")
    (run.folder / "explain").mkdir()
    with (run.folder / "explain" / "a.png").open("wb") as file:
        file.truncate(100_000_000)
    listed = {"method": "saliency", "picture": "a.png", "caption": "what", "check": "none"}
    run.write_json(run.folder / "explain" / "explain.json", {"explanations": [listed]})
    tracemalloc.start()
    html = build_report(run).html
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "1 images or sounds are left out" in html
    assert peak < 50_000_000


def test_the_calibration_is_shown() -> None:
    run = write_run("1")
    record_classes(run, ["cat", "dog"])
    scores = {"nll": 0.5, "brier": 0.3, "ece": 0.1}
    calibration = {"temperature": 1.5, "before": scores, "after": {name: value / 2 for name, value in scores.items()}}
    calibration |= {"coverage": 0.92, "coverage_interval": [0.9, 0.95], "mean_set_size": 1.25}
    run.update_results(calibration=calibration)
    text = page_of(run).text
    assert "Temperature 1.500" in text
    assert "The 90% prediction sets cover 92.0% of the test targets, with 1.25 classes on average" in text


def test_reports_of_large_files_are_quick_only_after_a_long_training() -> None:
    run = write_run("1")
    assert is_quick(run)
    with run.best.open("wb") as file:
        file.truncate(300_000_000)  # three seconds
    assert not is_quick(run)
    run.update_results(seconds=160.0)
    assert is_quick(run)


def test_a_forecast_is_evaluated_faster_than_classes() -> None:
    run = write_run("1")
    with run.recorded_predictions("test").open("wb") as file:
        file.truncate(7_000_000)
    assert not is_quick(run)
    run.update_results(test_per_channel={"load": {"rmse_in_units": 1.0}})
    assert is_quick(run)


@pytest.mark.parametrize("broken", ["nan", "one class"])
def test_a_failed_training_still_has_a_report(broken: str) -> None:
    run = write_run("1")
    record_classes(run, ["cat", "dog"] if broken == "nan" else ["cat"])
    if broken == "nan":
        recorded = RecordedPredictions.load(run.recorded_predictions("test"))
        recorded.frame = recorded.frame.with_columns(logit_cat=float("nan"), loss=float("nan"))
        recorded.save(run.recorded_predictions("test"))
    text = page_of(run).text
    assert "Confusion matrix" in text
    assert "Reliability" not in text


@pytest.mark.parametrize("name", ["metrics.csv", "data.json", "inputs.parquet", "test_predictions.parquet"])
def test_a_damaged_file_is_named(name: str) -> None:
    run = write_run("1")
    Path(run.folder, name).write_bytes(b'a,b\n"1,2')
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        build_report(run)


def test_predictions_without_a_needed_column_are_named() -> None:
    run = write_run("1")
    record(run, [0, 1, 2], [0, 1, 1])
    path = run.recorded_predictions("test")
    predictions = RecordedPredictions.load(path)
    RecordedPredictions(predictions.frame.drop("target"), predictions.description).save(path)
    with pytest.raises(InputError, match=r"test_predictions.parquet is damaged .it has no column target.; restore"):
        build_report(run)
