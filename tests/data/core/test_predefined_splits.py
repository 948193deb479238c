from pathlib import Path

import pytest

from litnets.data.core.predefined_splits import splits_beside


@pytest.mark.parametrize(
    ("train", "others", "found"),
    [
        ("train.csv", ["dev.csv", "test.csv"], {"val": "dev.csv", "test": "test.csv"}),
        ("Train.csv", ["TEST.csv"], {"test": "TEST.csv"}),
        ("imdb_train.csv", ["imdb_test.csv", "test.csv", "other_test.csv"], {"test": "imdb_test.csv"}),
        ("train.csv", ["test.txt", "testing.csv", "imdb_test.csv"], {}),
        ("reviews.csv", ["test.csv"], {}),
        ("test.csv", ["train.csv"], {}),
    ],
)
def test_splits_beside_a_training_file(train: str, others: list[str], found: dict[str, str]) -> None:
    for name in (train, *others):
        Path(name).touch()
    assert {part: path.name for part, path in splits_beside(Path(train)).items()} == found


def test_there_are_none_beside_a_folder_or_a_missing_file() -> None:
    Path("train").mkdir()
    Path("test.csv").touch()
    assert splits_beside(Path("train")) == splits_beside(Path("train.csv")) == {}
