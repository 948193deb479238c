from pathlib import Path
from typing import Any

import pytest
import torch

from litnets.data import SpokenDigits
from litnets.errors import InputError
from tests.helpers.tiny_sound import tone, write_fsdd, write_wav


def ready(folder: Path, **arguments: Any) -> SpokenDigits:
    data = SpokenDigits(str(folder), **arguments)
    data.prepare_data()
    data.setup()
    return data


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "fsdd" / "recordings").iterdir())


def test_the_official_test_split_is_the_first_five_recordings(tmp_path: Path) -> None:
    write_fsdd(tmp_path)
    splits = ready(tmp_path).splits
    files = names(tmp_path)
    assert {name: len(split) for name, split in splits.items()} == {"train": 54, "val": 6, "test": 100}
    tested = sorted(files[i] for i in splits["test"].indices.tolist())
    assert tested == sorted(name for name in files if name[-1] in "01234")


def test_recordings_and_targets_match_the_files(tmp_path: Path) -> None:
    write_fsdd(tmp_path)
    files = names(tmp_path)
    for split in ready(tmp_path).splits.values():
        for i, index in enumerate(split.indices.tolist()):
            (values, length), target = split[i]
            digit, speaker, number = files[index].split("_")
            seed = ("jackson", "theo").index(speaker) * 10_000 + int(digit) * 100 + int(number)
            expected = tone(300 + 300 * int(digit), int(length), seed=seed) // (1 if speaker == "jackson" else 4)
            assert target == int(digit)
            assert values.tolist() == expected.tolist()


@pytest.mark.parametrize("speaker", ["jackson", "theo"])
def test_a_speaker_is_held_out(tmp_path: Path, speaker: str) -> None:
    write_fsdd(tmp_path)
    splits = ready(tmp_path, test_speaker=speaker, val_size=0.25).splits
    files = names(tmp_path)
    by_split = {name: [files[i].split("_")[1] for i in split.indices.tolist()] for name, split in splits.items()}
    assert by_split["test"] == [speaker] * 80
    assert speaker not in by_split["train"] + by_split["val"]
    assert (len(by_split["train"]), len(by_split["val"])) == (60, 20)


def test_validation_is_stratified_by_speaker_and_digit(tmp_path: Path) -> None:
    write_fsdd(tmp_path)
    val = ready(tmp_path, val_size=1 / 3).splits["val"]
    files = names(tmp_path)
    assert sorted(files[i].rpartition("_")[0] for i in val.indices.tolist()) == sorted(
        f"{digit}_{speaker}" for digit in range(10) for speaker in ("jackson", "theo")
    )


def test_folds_partition_training_and_validation(tmp_path: Path) -> None:
    write_fsdd(tmp_path)
    folds = [ready(tmp_path, num_folds=3, fold=fold).splits for fold in range(3)]
    held_out = torch.cat([splits["val"].indices for splits in folds]).tolist()
    assert len(held_out) == len(set(held_out)) == 60
    for splits in folds:
        assert not set(splits["test"].indices.tolist()) & set(held_out)


def test_a_fold_holds_all_recordings_of_its_speakers(tmp_path: Path) -> None:
    write_fsdd(tmp_path)
    files = names(tmp_path)
    held_out = []
    for fold in range(2):
        splits = ready(tmp_path, num_folds=2, fold=fold, group_by_speaker=True).splits
        val, train = ({files[i].split("_")[1] for i in splits[part].indices.tolist()} for part in ("val", "train"))
        assert len(val) == len(train) == 1
        assert val != train
        held_out += val
    assert sorted(held_out) == ["jackson", "theo"]


def test_missing_recordings_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no recordings(.|\n)*github.com/Jakobovski/(.|\n)*fsdd/recordings/0_"):
        ready(tmp_path)


def test_an_unknown_speaker_is_refused(tmp_path: Path) -> None:
    write_fsdd(tmp_path)
    with pytest.raises(InputError, match=r"test_speaker: expected one of jackson, theo in .*, got 'georg'"):
        ready(tmp_path, test_speaker="georg")


@pytest.mark.parametrize("name", ["readme.wav", "11_theo_0.wav", "1_theo.wav", "1_theo_x.wav"])
def test_an_invalid_file_name_is_refused(tmp_path: Path, name: str) -> None:
    write_fsdd(tmp_path)
    write_wav(tmp_path / "fsdd" / "recordings" / name, tone(440, 100))
    with pytest.raises(InputError, match=rf"{name}: expected a name like 7_jackson_32.wav"):
        ready(tmp_path)


def test_broken_recordings_are_skipped_on_request(tmp_path: Path) -> None:
    write_fsdd(tmp_path)
    complete = {name: len(split) for name, split in ready(tmp_path, val_size=20).splits.items()}
    for name in ("3_theo_0.wav", "3_theo_7.wav"):  # of the test split, and of the rest
        (tmp_path / "fsdd" / "recordings" / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"2 of 160 recordings cannot be read; .*skip_broken true"):
        ready(tmp_path)
    remaining = {name: len(split) for name, split in ready(tmp_path, val_size=20, skip_broken=True).splits.items()}
    assert remaining == {"train": complete["train"] - 1, "val": 20, "test": complete["test"] - 1}


def test_an_old_checkpoint_without_input_shape_is_accepted(tmp_path: Path) -> None:
    """Earlier versions did not save it."""
    data = SpokenDigits(str(tmp_path), predict_path="new")
    data.load_state_dict({"mean": [1.0] * 40, "std": [2.0] * 40})
    assert data.state_dict() == {"mean": [1.0] * 40, "std": [2.0] * 40, "input_shape": [None, 40]}


@pytest.mark.slow
def test_the_real_data(real_data: Path) -> None:
    data = ready(real_data)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 2430, "val": 270, "test": 300}
    assert [abs(count - 243) <= 1 for count in data.class_counts or []] == [True] * 10
    test = data.splits["test"]
    assert test.targets[test.indices].bincount().tolist() == [30] * 10
    assert test.lengths.sum().item() / 8000 / 60 == pytest.approx(21.9, abs=0.1)
    assert (test.lengths.min().item() / 8000, test.lengths.max().item() / 8000) == pytest.approx((0.14, 2.28), abs=0.01)
    theo = ready(real_data, test_speaker="theo").splits
    assert {name: len(split) for name, split in theo.items()} == {"train": 2250, "val": 250, "test": 500}
