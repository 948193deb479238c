"""The columns of predictions.csv that identify samples."""

from pathlib import Path

import numpy as np
import torch

from litnets.data import ImageFolder
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.sample_columns import sources_of, sources_of_new, targets_of
from tests.helpers.tiny_images import write_image_folder


def test_rows_are_counted_in_each_file() -> None:
    samples = Fingerprint.of_rows(np.zeros(5, np.uint64), [3, 2])
    assert sources_of(samples, torch.tensor([4, 0, 2])) == {"row": ["2", "1", "3"]}


def test_files_are_named_relative_to_the_data() -> None:
    samples = Fingerprint.of_files(Path("data"), ["data/cat/1.png", "data/dog/2.png"], np.zeros(2, np.uint64))
    assert sources_of(samples, torch.tensor([1, 0])) == {"file": ["dog/2.png", "cat/1.png"]}


def test_new_samples() -> None:
    assert sources_of_new(None, 2) == {"row": ["1", "2"]}
    assert sources_of_new(["a.png", "b.png"], 2) == {"file": ["a.png", "b.png"]}
    assert sources_of_new(["a.txt", "b.txt", "a.txt"], 3) == {
        "file": ["a.txt", "b.txt", "a.txt"],
        "row": ["1", "1", "2"],
    }


def test_targets() -> None:
    assert targets_of(torch.tensor([1, 0]), ["no", "yes"]) == {"target": ["yes", "no"]}
    assert targets_of(torch.tensor([[1, 0]]), ["red", "big"]) == {"target_red": ["1"], "target_big": ["0"]}
    values = torch.tensor([[1234567.0, 0.1]])
    assert targets_of(values, None, ["price", "share"]) == {"target_price": ["1234567"], "target_share": ["0.1"]}
    assert targets_of(values[:, :1], None, ["price"]) == targets_of(values[:, 0], None) == {"target": ["1234567"]}


def test_predicted_samples_of_a_test_split() -> None:
    write_image_folder(Path("images"))
    data = ImageFolder("images", size=8)
    data.setup()
    assert data.sample_columns() == {}  # nothing was predicted yet
    data.predict_dataloader()
    indices = data.splits["test"].indices.tolist()
    files = [data.folders.files[i].relative_to("images").as_posix() for i in indices]
    assert data.sample_columns() == {"file": files, "target": [file.partition("/")[0] for file in files]}
