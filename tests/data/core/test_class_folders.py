import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from litnets.data.core.class_folders import BrokenFileError, ClassFolders, check_classes, read_all
from litnets.data.core.splits import PARTS, SplitSpec
from litnets.errors import InputError


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("")


def scan(root: Path) -> ClassFolders:
    return ClassFolders.scan(root, {".txt"}, "poem")


def split_of(folders: ClassFolders, *spec: Any) -> dict[str, Tensor]:
    return dict(zip(PARTS, folders.split(SplitSpec(*spec)), strict=True))


def touch_many(root: Path, **counts: int) -> None:
    for where, count in counts.items():
        touch(root, *(f"{where.replace('__', '/')}/{i:03}.txt" for i in range(count)))


def test_one_folder_of_classes(tmp_path: Path) -> None:
    touch(
        tmp_path, "b/2.txt", "b/1.TXT", "a/x/y/3.txt", "a/no.md", "a/.4.txt", ".hidden/5.txt", "a/.git/6.txt", "r.txt"
    )
    folders = scan(tmp_path)
    assert folders.class_names == ["a", "b"]
    assert [str(path.relative_to(tmp_path)) for path in folders.files] == ["a/x/y/3.txt", "b/1.TXT", "b/2.txt"]
    assert folders.targets.tolist() == [0, 1, 1]
    assert folders.parts == {}


def test_a_folder_for_each_split(tmp_path: Path) -> None:
    touch_many(tmp_path, train__a=3, train__b=2, val__a=1, val__b=1, test__b=2)
    folders = scan(tmp_path)
    assert folders.class_names == ["a", "b"]
    assert {part: folders.targets[i].tolist() for part, i in folders.parts.items()} == {
        "train": [0, 0, 0, 1, 1],
        "val": [0, 1],
        "test": [1, 1],
    }
    splits = split_of(folders, 0.5, 0.5)
    assert {part: sorted(i.tolist()) for part, i in splits.items()} == {
        part: i.tolist() for part, i in folders.parts.items()
    }


def test_a_class_can_be_named_train(tmp_path: Path) -> None:
    touch_many(tmp_path, car=2, train=2)
    assert scan(tmp_path).class_names == ["car", "train"]


@pytest.mark.parametrize(
    "names", [("Train", "DEV", "Test"), ("training", "valid", "test"), ("TRAIN", "validation", "TEST")]
)
def test_folders_of_splits_have_several_names(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for name in names:
        touch(tmp_path, *(f"{name}/{c}/{i}.txt" for c in "ab" for i in range(3)))
    folders = scan(tmp_path)
    for name, indices in zip(names, split_of(folders, 0.2, 0.2).values(), strict=True):
        assert {folders.files[i].parent.parent.name for i in indices} == {name}


def test_what_is_left_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch_many(tmp_path, train__a=3, train__b=2, test__a=1, extra__a=1)
    touch(tmp_path, "train/loose.txt", "notes.md", "test/.hidden.txt", "test/Thumbs.db")
    assert len(scan(tmp_path).files) == 6
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}: extra left out; expected train, val and test",
        f"{tmp_path}/train: 1 poems outside the class folders left out (loose.txt)",
    ]


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        ({}, (24, 8, 8)),
        ({"train": 40}, (24, 8, 8)),
        ({"train": 40, "test": 6}, (32, 8, 6)),
        ({"train": 40, "val": 6}, (32, 6, 8)),
        ({"train": 40, "val": 6, "test": 4}, (40, 6, 4)),
    ],
)
def test_splits_without_a_folder_are_taken_from_train(
    tmp_path: Path, parts: dict[str, int], sizes: tuple[int, int, int]
) -> None:
    for part, size in (parts or {".": 40}).items():
        for name in ("a", "b"):
            touch(tmp_path, *(f"{part}/{name}/{i:02}.txt" for i in range(size // 2)))
    folders = scan(tmp_path)
    splits = split_of(folders, 0.2, 0.2)
    assert tuple(len(splits[part]) for part in ("train", "val", "test")) == sizes
    assert sorted(torch.cat(list(splits.values())).tolist()) == list(range(len(folders.files)))
    for split in splits.values():
        assert folders.targets[split].bincount().tolist() == [len(split) // 2] * 2
    for part in ("val", "test"):
        if part in parts:
            assert all(f"/{part}/" in str(folders.files[i]) for i in splits[part])


def test_folds(tmp_path: Path) -> None:
    touch_many(tmp_path / "one", a=15, b=15)
    touch_many(tmp_path / "two", train__a=10, train__b=10, val__a=5, val__b=5, test__a=2, test__b=2)
    one, two = scan(tmp_path / "one"), scan(tmp_path / "two")
    assert sorted(torch.cat([split_of(one, 0.1, 0.2, 0, 5, fold)["test"] for fold in range(5)]).tolist()) == list(
        range(30)
    )
    folds = [split_of(two, 0.1, 0.2, 0, 5, fold) for fold in range(5)]
    assert sorted(torch.cat([splits["val"] for splits in folds]).tolist()) == list(range(30))
    assert all(splits["test"].tolist() == [30, 31, 32, 33] for splits in folds)


# Links


def test_links_that_lead_back_out_of_a_class_are_refused(tmp_path: Path) -> None:
    touch_many(tmp_path / "pets", cat=10, dog=10)
    for where, target in (("pets/cat/more", "pets"), ("pets/dog/up", "."), ("pets/fox", "pets")):
        (tmp_path / where).symlink_to(tmp_path / target)
        with pytest.raises(InputError, match=rf"{where} links to .*, which contains it"):
            scan(tmp_path / "pets")
        (tmp_path / where).unlink()
    assert len(scan(tmp_path / "pets").files) == 20


def test_files_with_other_suffixes_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch_many(tmp_path, a=2, b=2)
    touch(tmp_path, "a/1.heic", "a/more/2.HEIC", "b/notes", "b/3.json", "b/.hidden.json", "c.heic", "b/@eaDir/4.heic")
    scan(tmp_path)
    line = f"{tmp_path}: left out files that are not poems: 2 .heic, 1 without a suffix, 1 .json\n"
    assert capsys.readouterr().out == line


def test_each_real_file_is_read_once(tmp_path: Path) -> None:
    touch_many(tmp_path / "store", x=2, y=3)
    touch_many(tmp_path / "pets", cat=1)
    (tmp_path / "pets/cat/again.txt").symlink_to("000.txt")
    for name, target in (("cat/x", "x"), ("cat/x2", "x"), ("dog", "y")):
        (tmp_path / "pets" / name).symlink_to(tmp_path / "store" / target)
    (tmp_path / "pets/cat/x/002.txt").hardlink_to(tmp_path / "pets/cat/000.txt")  # a copy that takes no space
    folders = scan(tmp_path / "pets")
    assert folders.targets.tolist() == [0] * 4 + [1] * 3
    assert [str(path.relative_to(tmp_path / "pets")) for path in folders.files[:4]] == [
        "cat/000.txt",
        "cat/x/000.txt",
        "cat/x/001.txt",
        "cat/x/002.txt",
    ]


@pytest.mark.parametrize("link", ["pets/dog/9.txt", "pets/fox", "split/train/dog/9.txt", "split/test/cat/9.txt"])
def test_a_file_in_two_classes_or_splits_is_named(tmp_path: Path, link: str) -> None:
    touch_many(tmp_path, pets__cat=2, pets__dog=2, split__train__cat=2, split__train__dog=2, split__test__cat=2)
    root = tmp_path / link.partition("/")[0]
    target = root / ("cat" if root.name == "pets" else "train/cat")
    (tmp_path / link).symlink_to(target / "000.txt" if link.endswith(".txt") else target)
    with pytest.raises(InputError, match=r"into two classes or splits; keep one link to each\n.*cat/000.txt.* = "):
        scan(root)


# Names


def test_system_files_are_skipped(tmp_path: Path) -> None:
    touch_many(tmp_path, a=2, b=2)
    folders = ("@eaDir", "__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN", "a/#recycle")
    touch(tmp_path, *(f"{name}/x.txt" for name in folders))
    touch(tmp_path, "a/._000.txt", "a/@eaDir/000.txt/thumb.txt", "b/lost+found/1.txt", "b/.DS_Store/2.txt")
    scanned = scan(tmp_path)
    assert scanned.class_names == ["a", "b"]
    assert len(scanned.files) == 4


def test_names_that_only_look_the_same_are_explained(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    explanation = r"look the same, but are composed of different characters"
    for name in (composed, decomposed):
        touch_many(tmp_path / "two", **{name: 2, "tea": 2})
    with pytest.raises(InputError, match=rf"two classes are named .*'cafe\\u0301' .*{explanation}; merge them"):
        scan(tmp_path / "two")
    touch_many(tmp_path / "one", **{f"train__{composed}": 2, "train__tea": 2, f"test__{decomposed}": 2})
    with pytest.raises(InputError, match=rf"test has the class .* to train on; .*{explanation}"):
        scan(tmp_path / "one")
    with pytest.raises(InputError, match=rf"these data have .*; .*{explanation}"):
        check_classes([composed, "tea"], [decomposed, "tea"])


# Errors


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((), r"expected at least two folders, one per class, found none"),
        (("1.txt",), "found none"),
        (("a/1.txt",), "found only a"),
        (("a/1.txt", "b/1.md"), r"/b contains no poem \(\.txt\); add some or remove the folder"),
        (
            ("train/a/1.txt", "train/b/1.txt", "test/a/1.txt", "test/c/1.txt"),
            r"test has the class c, but .*train has only a, b to train on",
        ),
        (
            ("train/a/1.txt", "train/b/1.txt", "test/cat/1.txt", "test/Dog/1.txt", "test/a/1.txt"),
            r"test has the classes Dog, cat, but .*train has only a, b",
        ),
        (("train/a/1.txt", "train/b/1.txt", "val/a/1.md"), r"val/a contains no poem"),
        (("train/a/1.txt", "train/b/1.txt", "val/1.txt"), r"val contains no class"),
        (
            ("train/a/1.txt", "train/b/1.txt", "vali/a/1.txt"),
            r"train next to vali; expected only train, val and test, or only folders of classes",
        ),
        (("test/a/1.txt", "val/b/1.txt"), r"has val, test, but nothing to train on"),
        (("train/a/1.txt", "Val/a/1.txt", "dev/a/1.txt"), r"Val and dev both hold the val split; remove one"),
    ],
)
def test_invalid_folders_are_refused(tmp_path: Path, paths: tuple[str, ...], message: str) -> None:
    touch(tmp_path, *paths)
    with pytest.raises(InputError, match=message):
        scan(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    with pytest.raises(InputError, match=r"nowhere does not exist; set --data.root"):
        scan(tmp_path / "nowhere")
    with pytest.raises(InputError, match="file is a file, not a folder"):
        scan(tmp_path / "file")


@pytest.mark.parametrize("function", ["os.scandir", "os.walk"])
def test_an_unreadable_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    touch_many(tmp_path, a=2, b=2)
    scandir, secret = os.scandir, tmp_path / "b"

    def refused(path: Any) -> Any:
        if Path(path) in ((tmp_path,) if function == "os.scandir" else (secret,)):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)  # os.walk calls it too; for root no folder is unreadable
    with pytest.raises(InputError, match=r"the folder cannot be read: .*Permission denied"):
        scan(tmp_path)


def test_one_file_in_a_class_cannot_be_split(tmp_path: Path) -> None:
    touch_many(tmp_path / "one", a=9, b=1)
    with pytest.raises(InputError, match="class 'b' has a single file"):
        split_of(scan(tmp_path / "one"), 0.2, 0.2)
    with pytest.raises(InputError, match="class 'b' has a single file"):
        split_of(scan(tmp_path / "one"), 0.2, 0.2, 0, 3)
    touch_many(tmp_path / "two", train__a=9, train__b=1, val__a=1, test__a=1)
    assert len(split_of(scan(tmp_path / "two"), 0.2, 0.2)["train"]) == 10


def test_a_class_without_training_samples_is_reported(tmp_path: Path) -> None:
    touch_many(tmp_path, a=9, b=3)
    folders = scan(tmp_path)
    folders.check_trained_on(torch.tensor([0, 9]))
    with pytest.raises(InputError, match="class 'b' has no file in the training split"):
        folders.check_trained_on(torch.tensor([0, 1]))


def read(index: int) -> int:
    if index % 3 == 1:
        raise BrokenFileError(f"odd {index}")
    return index


def test_broken_files_are_listed_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    files = [Path(f"f{i}") for i in range(20)]
    with pytest.raises(
        InputError, match=r"^7 of 20 poems cannot be read; .*skip_broken true\n  f1: odd 1\n  f4: odd 4\n"
    ):
        read_all(files, read, False, "poem")
    results, broken = read_all(files, read, True, "poem")
    assert results == [None if i % 3 == 1 else i for i in range(20)]
    assert broken.tolist() == [i % 3 == 1 for i in range(20)]
    assert "7 of 20 poems cannot be read, skipped:\n  f1: odd 1\n" in (output := capsys.readouterr().out)
    with pytest.raises(InputError, match=r"^2 of 2 poems cannot be read, so no poem is left\n  f1: odd 1\n  f4: odd"):
        read_all([Path("f1"), Path("f4")], lambda i: read(3 * i + 1), True, "poem")
    assert "f13" in output
    assert "f16" not in output
    assert "and 2 more" in output
