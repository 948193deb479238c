"""`test --on`: new labeled samples are encoded as in training and not split."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from litnets.data import (
    AudioFolder,
    Digits,
    ImageArrays,
    ImageFolder,
    Iris,
    Names,
    SeriesCSV,
    SeriesFolder,
    TableCSV,
    TextFiles,
)
from litnets.data.core.base import ArrayDataModule
from litnets.errors import InputError
from tests.helpers.tiny_images import write_image_arrays, write_image_folder
from tests.helpers.tiny_series import waves, write_series, write_series_folder
from tests.helpers.tiny_sound import write_audio_folder
from tests.helpers.tiny_tables import write_csv
from tests.helpers.tiny_text import rows, tiny_names, write_texts


def trained_state(module: ArrayDataModule) -> dict[str, Any]:
    """Return what a checkpoint holds of the data."""
    module.ensure_setup()
    for name in ("mean", "std"):
        getattr(module, name, None)
    return module.state_dict()


def labeled(module: ArrayDataModule, state: dict[str, Any], classes: Sequence[str] | None, path: str = "new") -> Any:
    """Return all test batches of new samples, as one."""
    module.evaluate_on(Path(path), classes)
    module.prepare_data()
    module.setup("test")
    module.load_state_dict(state)
    (batch,) = list(module.test_dataloader())
    return batch


def copy_test_split(module: Any) -> None:
    """Copy the files of the test split to `new`, in reverse order within each class."""
    files = [module.folders.files[i] for i in module.splits["test"].indices.tolist()]
    for number, file in enumerate(sorted(files, reverse=True)):
        target = Path("new") / file.parent.name / f"{number:03}{file.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)


FOLDERS = {
    "images": (ImageFolder, write_image_folder, {"size": 8}),
    "audio": (AudioFolder, write_audio_folder, {}),
    "series": (SeriesFolder, write_series_folder, {}),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_files_in_folders_of_classes(kind: str) -> None:
    cls, write, options = FOLDERS[kind]
    write(Path("old"))  # type: ignore[operator]
    trained = cls(root="old", **options)  # type: ignore[operator]
    state = trained_state(trained)
    copy_test_split(trained)
    (inputs, targets) = next(iter(trained.test_dataloader()))
    shutil.rmtree("old")
    classes = state["class_names"]
    new_inputs, new_targets = labeled(cls(root="old", **options), state, classes)  # type: ignore[operator]
    assert new_targets.bincount().tolist() == targets.long().bincount().tolist()
    # Sequences come as (values, lengths).
    values, new_values = (part if isinstance(part, torch.Tensor) else part[0] for part in (inputs, new_inputs))
    for label in range(len(classes)):
        ours = values[targets == label].double().flatten(1).sum(1).sort().values
        theirs = new_values[new_targets == label].double().flatten(1).sum(1).sort().values
        torch.testing.assert_close(ours, theirs)


def test_a_class_that_was_not_trained_on_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    write_image_folder(Path("old"))
    state = trained_state(ImageFolder("old", size=8))
    write_image_folder(Path("new"), ("cat", "fox"), size=2)
    with pytest.raises(InputError, match=r"^new has the class fox, but the run has only cat, dog, owl to train on"):
        labeled(ImageFolder("old", size=8), state, state["class_names"])
    shutil.move("new/fox/00.png", "new/loose.png")
    with pytest.raises(
        InputError, match=r"^new has files outside the class folders \(loose.png\); expected one folder"
    ):
        labeled(ImageFolder("old", size=8), state, state["class_names"])
    shutil.rmtree("new/fox")
    Path("new/loose.png").unlink()
    _, targets = labeled(ImageFolder("old", size=8), state, state["class_names"])
    assert targets.tolist() == [0, 0]
    assert capsys.readouterr().out == "data: no sample of dog, owl\n"


def test_a_ready_made_data_set_reads_class_folders() -> None:
    state = trained_state(Digits())
    write_image_folder(Path("new"), ("3", "7"), size=2)
    inputs, targets = labeled(Digits(), state, Digits.class_names)
    assert inputs.shape == (4, 1, 8, 8)
    assert targets.tolist() == [3, 3, 7, 7]


def test_arrays_of_images() -> None:
    write_image_arrays(Path("old"))
    state = trained_state(ImageArrays("old"))
    shutil.move("old", "new")
    inputs, targets = labeled(ImageArrays("old"), state, state["class_names"])
    assert np.array_equal(inputs, np.load("new/inputs.npy"))
    assert np.array_equal(targets, np.load("new/targets.npy"))
    with pytest.raises(InputError, match=r"^new: targets.npy has the class 9, but the run has only 2"):
        labeled(ImageArrays("old"), state, ["a", "b"])


@pytest.mark.parametrize("name", ["new.csv", "new.tsv", "new.jsonl", "new"])
def test_texts(name: str) -> None:
    write_texts(Path("old.csv"), rows())
    trained = TextFiles("old.csv")
    state = trained_state(trained)
    Path("old.csv").unlink()
    write_texts(Path(name), [("good w1 unseen", "a"), ("w1", "c"), ("w2", "c")])
    (tokens, lengths), targets = labeled(TextFiles("old.csv"), state, state["class_names"], name)
    assert trained.vocabulary is not None
    # Batches are grouped by length.
    assert sorted(zip(lengths.tolist(), targets.tolist(), strict=True)) == [(1, 2), (1, 2), (3, 0)]
    longest = tokens[lengths.argmax()].tolist()
    assert longest == list(next(iter(trained.vocabulary.encode(["good w1 unseen"], 9))))
    write_texts(Path("bad.csv"), [("good", "a"), ("good", "d")])
    with pytest.raises(InputError, match=r"^bad.csv, line 3: no training text has the class 'd'"):
        labeled(TextFiles("old.csv"), state, state["class_names"], "bad.csv")


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    options = tiny_names(Path("old"), monkeypatch)
    state = trained_state(Names(**options))
    Path("new").mkdir()
    Path("new/Greek.txt").write_text("Abbba\n\nGbg\n", encoding="utf-8")
    Path("new/Arabic.txt").write_text("Aaa\n", encoding="utf-8")
    (_, lengths), targets = labeled(Names(**options), state, state["class_names"])
    classes = [state["class_names"][i] for i in targets.tolist()]
    assert sorted(zip(lengths.tolist(), classes, strict=True)) == [(3, "Arabic"), (3, "Greek"), (5, "Greek")]


TABLE = {"ignore": ["red", "round", "price"], "target": "bought"}


def test_rows_of_a_table() -> None:
    write_csv(Path("old.csv"))
    state = trained_state(TableCSV("old.csv", **TABLE))  # type: ignore[arg-type]
    Path("old.csv").unlink()
    # Another order of columns, an unseen town, and no class "no" in the first rows.
    Path("new.csv").write_text("town,bought,age,income\nRome,yes,30,20000\nParis,yes,,5e4\n", encoding="utf-8")
    rows_, targets = labeled(TableCSV("old.csv", **TABLE), state, state["class_names"], "new.csv")  # type: ignore[arg-type]
    assert state["class_names"] == ["no", "yes"]
    assert targets.tolist() == [1, 1]
    rome = [float(town == "Rome") for town in state["categories"][0]]
    numbers = torch.tensor([[30, 2e4], [state["median"][0], 5e4]])
    scaled = (numbers - torch.tensor(state["mean"])) / torch.tensor(state["std"])
    module = TableCSV("old.csv", **TABLE)  # type: ignore[arg-type]
    module.evaluate_on(Path("new.csv"), None)
    module.load_state_dict(state)
    expected = torch.cat([scaled, torch.tensor([rome, [0.0] * len(rome)])], 1)
    torch.testing.assert_close(module.prepare(rows_), expected)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("maybe", r"target 'bought', row 1: expected a class of the training \(no, yes\), got 'maybe'"),
        ("", "target 'bought' has no value in row 1"),
    ],
)
def test_rows_without_a_class_of_the_training(label: str, message: str) -> None:
    write_csv(Path("old.csv"))
    state = trained_state(TableCSV("old.csv", **TABLE))  # type: ignore[arg-type]
    Path("new.csv").write_text(f"town,bought,age,income\nRome,{label},30,20000\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        labeled(TableCSV("old.csv", **TABLE), state, state["class_names"], "new.csv")  # type: ignore[arg-type]


def test_rows_with_numeric_targets() -> None:
    write_csv(Path("old.csv"))
    options = {"target": ["price", "income"], "ignore": ["red", "round", "bought"]}
    state = trained_state(TableCSV("old.csv", **options))  # type: ignore[arg-type]
    Path("new.csv").write_text("income,price,age,town\n1.5,2,30,Rome\n", encoding="utf-8")
    _, targets = labeled(TableCSV("old.csv", **options), state, None, "new.csv")  # type: ignore[arg-type]
    assert targets.tolist() == [[2, 1.5]]


def test_a_ready_made_table_has_no_target_column() -> None:
    with pytest.raises(InputError, match=r"^Iris cannot read new rows with targets$"):
        Iris().load_labeled(Path("new.csv"))


def test_a_series_is_cut_into_all_its_windows() -> None:
    write_series(Path("old.csv"), waves(300, 2), ("x", "y"))
    options = {"look_back": 12, "horizon": 4}
    state = trained_state(SeriesCSV("old.csv", **options))
    new = waves(20, 2, seed=1)
    write_series(Path("new.csv"), new, ("x", "y"))
    Path("old.csv").unlink()
    inputs, targets = labeled(SeriesCSV("old.csv", **options), state, None, "new.csv")
    assert (inputs.shape, targets.shape) == ((5, 12, 2), (5, 4, 2))
    np.testing.assert_allclose(inputs[-1], new[4:16], rtol=1e-6)
    np.testing.assert_allclose(targets[-1], new[16:], rtol=1e-6)
    write_series(Path("short.csv"), new[:15], ("x", "y"))
    with pytest.raises(InputError, match=r"^short.csv: look_back 12 and horizon 4 need 16 steps, but the file has 15"):
        labeled(SeriesCSV("old.csv", **options), state, None, "short.csv")
