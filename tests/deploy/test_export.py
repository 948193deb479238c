"""An export answers as the network that it came from, or nothing is written."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from litnets.analysis.predictor import Predictor
from litnets.data import ArrayData, TextFiles
from litnets.deploy import certificate, export
from litnets.deploy.certificate import TIE_MARGIN, Certificate
from litnets.deploy.export import Export, export_network
from litnets.deploy.formats import read
from litnets.deploy.graph import ExportedNetwork
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.stored_inputs import StoredInput, save_inputs
from litnets.tasks import CNN1dClassifier, CNNClassifier
from tests.helpers.tiny_text import rows, write_texts

pytest.importorskip("onnxscript", reason="needs the extra export")

CLASSES = ["cat", "dog", "owl"]


@pytest.fixture(autouse=True)
def _measure_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "SECONDS_PER_BATCH_SIZE", 0.0)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """A network whose batch normalization and dropout behave differently in training."""
    torch.manual_seed(0)  # with other weights, `shift_mean` may change the predictions too little
    images = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), dtype=np.uint8)
    data = ArrayData(images, np.arange(60) % 3, class_names=CLASSES)
    data.ensure_setup()
    network = CNNClassifier(data.input_shape, num_classes=3, class_names=CLASSES, widths=[4, 6], dropout=0.2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return Predictor(network, data, device="cpu")


@pytest.fixture(scope="module")
def exported(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Export:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificate, "SECONDS_PER_BATCH_SIZE", 0.0)
        return export_network(predictor, "onnx", tmp_path_factory.mktemp("run") / "export")


def test_the_export_answers_as_the_network(predictor: Predictor, exported: Export) -> None:
    content = json.loads((exported.folder / "certificate.json").read_text())
    expected = {"passed": True, "checked_on": "the test split", "samples": 12, "decisions": 12, "flips": 0}
    assert {key: content[key] for key in expected} == expected
    assert content["largest_difference"] < 1e-5
    assert content["network_metric"] == content["exported_metric"]
    file = read("onnx", exported.file, ())
    images = np.random.default_rng(1).integers(0, 256, (5, 1, 8, 8), dtype=np.uint8)
    answers = file(torch.from_numpy(images))
    np.testing.assert_allclose(answers["probability"], predictor.predict_proba(images), atol=1e-5)
    assert [file.metadata["class_names"][i] for i in answers["prediction"]] == predictor.predict(images).tolist()


def test_run_py_needs_neither_torch_nor_litnets(predictor: Predictor, exported: Export) -> None:
    folder = exported.folder
    images = np.random.default_rng(1).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    np.save("new.npy", images)
    assert len((folder / "run.py").read_text().splitlines()) < 80
    program = (
        "import runpy, sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'litnets', 'lightning'], None))\n"  # importing them fails
        f"sys.path.insert(0, {str(folder)!r})\n"
        f"sys.argv[0] = {str(folder / 'run.py')!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    done = [
        subprocess.run([sys.executable, "-I", "-c", program, *args], capture_output=True, text=True, check=False)
        for args in (["--selftest"], ["new.npy"])
    ]
    assert [one.returncode for one in done] == [0, 0], done[0].stderr + done[1].stderr
    assert done[0].stdout == "selftest passed: 12 samples\n"
    lines = [line.split("\t") for line in done[1].stdout.splitlines()]
    assert [line[0] for line in lines] == ["new.npy[0]", "new.npy[1]"]
    assert [line[1].split()[0] for line in lines] == predictor.predict(images).tolist()


def shift_mean(network: ExportedNetwork) -> None:
    network.prepare.mean += 20  # type: ignore[operator]


def forget_eval(network: ExportedNetwork) -> None:
    network.train()


@pytest.mark.parametrize("sabotage", [shift_mean, forget_eval])
def test_an_export_with_other_answers_is_refused(
    predictor: Predictor, sabotage: Callable[[ExportedNetwork], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(predictor: Predictor) -> ExportedNetwork:
        network = ExportedNetwork(predictor).eval()
        sabotage(network)
        return network

    monkeypatch.setattr(export, "build_network", build)
    with pytest.raises(InputError, match="the exported network predicts differently"):
        export_network(predictor, "pt2", Path("export"))
    assert list(Path().iterdir()) == []


def test_another_quantile_is_refused(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(predictor: Predictor) -> ExportedNetwork:
        network: Any = ExportedNetwork(predictor).eval()
        network.network.set_threshold = 0.9
        return network

    monkeypatch.setattr(predictor.network, "set_threshold", 0.1)
    monkeypatch.setattr(export, "build_network", build)
    with pytest.raises(InputError, match=r"0 of 12 decisions differ, [0-9]+ classes of prediction sets differ"):
        export_network(predictor, "pt2", Path("export"))
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("probability", "prediction", "flips"),
    [
        ([0.7, 0.3, 0.0], 0, 1),
        ([0.7, 0.200001, 0.1], 0, 0),  # at the threshold
        ([0.35, 0.35, 0.3], 1, 0),  # a tie, so that the sets have different predictions
    ],
)
def test_only_classes_at_the_threshold_may_be_missing_in_a_set(
    probability: list[float], prediction: int, flips: int
) -> None:
    reference = {
        "prediction": np.array([0]),
        "probability": np.array([probability]),
        "set": np.array([[True, True, False]]),
    }
    actual = {"prediction": np.array([prediction]), "set": np.array([[True, False, False]])}
    assert certificate._count_set_flips(reference, actual, 0.2) == flips


def test_a_refused_export_leaves_the_earlier_one(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("export").mkdir()
    Path("export", "certificate.json").write_text("{}")
    monkeypatch.setattr(export, "build_network", lambda predictor: ExportedNetwork(predictor).train())
    with pytest.raises(InputError, match="the exported network predicts differently"):
        export_network(predictor, "pt2", Path("export"))
    assert list(Path().rglob("*")) == [Path("export"), Path("export", "certificate.json")]


def test_swapped_classes_are_refused(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    describe = export.describe

    def swap(*args: Any) -> dict[str, Any]:
        return {**describe(*args), "class_names": ["dog", "cat", "owl"]}

    monkeypatch.setattr(export, "describe", swap)
    with pytest.raises(InputError, match=r"the classes in the file are \['dog', 'cat', 'owl'\]"):
        export_network(predictor, "pt2", Path("export"))
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("counts", "accepted"),
    [
        ({"decisions": 9, "ties": 1, "largest_difference": TIE_MARGIN}, True),
        ({"decisions": 9, "flips": 1, "largest_difference": TIE_MARGIN}, False),
        ({"largest_difference": 2e-4}, False),
        ({"largest_difference": float("nan")}, False),
    ],
)
def test_only_ties_may_be_decided_differently(counts: dict[str, Any], accepted: bool) -> None:
    compared = Certificate("the test split", **counts)
    if accepted:
        compared.check()
    else:
        with pytest.raises(InputError, match="predicts differently"):
            compared.check()


def test_a_folder_with_other_files_is_not_replaced(predictor: Predictor) -> None:
    Path("export").mkdir()
    Path("export", "thesis.txt").touch()
    with pytest.raises(InputError, match="holds no earlier export"):
        export_network(predictor, "onnx", Path("export"))


def test_an_earlier_export_is_replaced(predictor: Predictor) -> None:
    Path("export").mkdir()
    Path("export", "certificate.json").write_text("{}")
    Path("export", "model.onnx").touch()
    export_network(predictor, "pt2", Path("export"))
    assert sorted(path.name for path in Path("export").iterdir()) == ["certificate.json", "golden.npz", "model.pt2"]


def test_without_the_data_the_recorded_inputs_are_compared() -> None:
    write_texts(Path("old.csv"), rows(60))
    trained = TextFiles("old.csv", min_count=1)
    trained.ensure_setup()
    Path("old.csv").unlink()
    data = TextFiles("old.csv", min_count=1)
    data.restore_for_inputs(trained.state_dict())
    network = CNN1dClassifier((None,), num_classes=3, vocab_size=trained.vocab_size, widths=[4])
    Path("run").mkdir()
    run = Run(Path("run"))
    predictor = Predictor(network, data, run, device="cpu")
    with pytest.raises(InputError, match=r"nothing to compare the exported network on: .*old.csv"):
        export_network(predictor, "pt2")
    texts = [text for text, _ in rows(7)]
    save_inputs(run.inputs, [StoredInput("test", i, "example", "text", text.encode()) for i, text in enumerate(texts)])
    compared = export_network(predictor, "pt2").certificate
    assert compared.samples == 7
    assert compared.checked_on.startswith("inputs.parquet (the test split cannot be read: path: old.csv: no such file")
    assert compared.metric is None
