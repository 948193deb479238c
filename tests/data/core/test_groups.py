from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from litnets.data import AudioFolder, ImageFolder, SegmentationFolder, SeriesFolder
from litnets.data.core.base import SplitDataModule
from litnets.data.core.groups import copy_groups, groups_in, name_groups
from litnets.data.core.splits import split_indices
from litnets.errors import InputError
from tests.helpers.tiny_sound import write_wav


def write_images(root: Path, copies: int = 1, classes: str = "ab", each: int = 10) -> None:
    """Write `each` different images per class, each `copies` times."""
    noise = np.random.default_rng(0).integers(0, 255, (len(classes), each, 4, 4), np.uint8)
    for name, images in zip(classes, noise, strict=True):
        (root / name).mkdir(parents=True)
        for number, image in enumerate(images):
            for copy in range(copies):
                Image.fromarray(image).save(root / name / f"p{number}_{copy}.png")


def splits_of(data: SplitDataModule) -> list[int]:
    """Return the index of the split of each file."""
    data.setup()
    assert data.split_record is not None
    return data.split_record.split_of.tolist()


def assert_together(folds: Sequence[SplitDataModule], groups: Sequence[str]) -> None:
    """Check that files of a group are in one split, and that each file is tested in one fold."""
    splits = [splits_of(data) for data in folds]
    for fold in splits:
        assert len(set(zip(groups, fold, strict=True))) == len(set(groups))
        assert set(fold) == {0, 1, 2}
    assert [fold.count(2) for fold in zip(*splits, strict=True)] == [1] * len(groups)


def test_copies_of_images_stay_in_one_fold_and_folds_are_stratified() -> None:
    write_images(Path("pets"), copies=3)
    folds = [ImageFolder("pets", size=4, num_folds=5, fold=fold) for fold in range(5)]
    files = folds[0].folders.files
    assert_together(folds, [f"{file.parent.name}{file.name[:2]}" for file in files])
    for data in folds:
        assert data.folders.targets[data.splits["test"].indices].bincount().tolist() == [6, 6]


def test_copies_of_recordings_and_series_stay_in_one_split() -> None:
    noise = np.random.default_rng(0).integers(-999, 999, (2, 10, 400), np.int16)
    for name, recordings in zip("ab", noise, strict=True):
        for number, samples in enumerate(recordings):
            for copy in "xy":
                Path("sounds", name).mkdir(parents=True, exist_ok=True)
                Path("series", name).mkdir(parents=True, exist_ok=True)
                write_wav(Path("sounds", name, f"{number}{copy}.wav"), samples)
                Path("series", name, f"{number}{copy}.csv").write_text("v\n" + "\n".join(map(str, samples[:9])))
    groups = [f"{name}{number}" for name in "ab" for number in range(10) for _ in "xy"]
    assert_together([AudioFolder("sounds", num_folds=2, fold=fold) for fold in range(2)], groups)
    assert_together([SeriesFolder("series", num_folds=2, fold=fold) for fold in range(2)], groups)


def test_images_with_masks_are_grouped_as_well() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (10, 8, 8), np.uint8)
    for number, image in enumerate(noise):
        for copy in "xy":
            for folder, pixels in (("images", image), ("masks", image // 128)):
                Path(folder).mkdir(exist_ok=True)
                Image.fromarray(pixels).save(f"{folder}/{number % 3}_{number}{copy}.png")
    copies = [SegmentationFolder(".", num_folds=3, fold=fold) for fold in range(3)]
    scenes = [SegmentationFolder(".", num_folds=3, fold=fold, group_pattern="(.)_") for fold in range(3)]
    names = [image.name for image in copies[0].files.images]
    assert_together(copies, [name[2] for name in names])
    assert_together(scenes, [name[0] for name in names])


@pytest.mark.parametrize(
    ("pattern", "groups"), [(r"p(\d)_", "0011223344"), (r"(p)(\d)", "0011223344"), ("p[0-2]", None)]
)
def test_files_are_grouped_by_a_part_of_their_names(pattern: str, groups: str | None) -> None:
    write_images(Path("pets"), copies=2, each=5)
    folds = [ImageFolder("pets", size=4, num_folds=3, fold=fold, group_pattern=pattern) for fold in range(3)]
    if groups is None:
        with pytest.raises(InputError, match=r"does not match the start of 8 of 20 names \(p3_0.png, p3_1.png, "):
            folds[0].setup()
    else:
        assert_together(folds, groups * 2)  # of both classes


def test_the_name_begins_in_the_folder_of_the_class() -> None:
    files = [Path("root", part, "cat", name) for part in ("train", "test") for name in ("ann/1.wav", "bob/1.wav")]
    assert name_groups(files, 3, "([^/]+)/").tolist() == [0, 1, 0, 1]
    with pytest.raises(InputError, match=r"group_pattern: '\(' is not a regular expression: missing \)"):
        name_groups(files, 3, "(")


@pytest.mark.parametrize("test_folder", [False, True])
def test_files_without_copies_are_split_as_single_files(test_folder: bool) -> None:
    write_images(Path("pets", "train"), each=20)
    if test_folder:
        write_images(Path("pets", "test"))  # copies of training images
    else:
        for name in ("a/broken.png", "b/broken.png"):  # equal, but not used
            Path("pets/train", name).write_bytes(b"")
    data = ImageFolder("pets" if test_folder else "pets/train", size=4, skip_broken=True)
    data.setup()
    pool = torch.arange(40 if test_folder else 42)
    test_size = 0 if test_folder else 0.2
    train, _, _ = split_indices(data.folders.targets[pool], len(pool), replace(data.split_spec, test_size=test_size))
    broken = [i for i, file in enumerate(data.folders.files) if file.name == "broken.png"]
    assert data.splits["train"].indices.tolist() == [i for i in train.tolist() if i not in broken]


def test_copies_across_folders_of_splits_are_reported_but_not_moved(capsys: pytest.CaptureFixture[str]) -> None:
    write_images(Path("pets", "train"))
    write_images(Path("pets", "test"))
    data = ImageFolder("pets", size=4)
    assert splits_of(data)[-20:] == [2] * 20
    assert "20 of 40 images are copies of others, 20 in another split" in capsys.readouterr().out


def test_only_usable_copies_share_a_group() -> None:
    contents = np.arange(100_000, dtype=np.uint64) * np.uint64(7919)
    contents[::10] = contents[1::10]
    groups = copy_groups(contents, torch.arange(100_000) % 100 > 0)
    assert len(groups.unique()) == 91_000
    assert groups_in(torch.arange(2, 10), groups) is None
