"""No sample moves to another split when the data change, and every change of the data is reported."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from litnets.data import AudioFolder, Digits, ImageArrays, ImageFolder, SeriesCSV, SeriesFolder, TableCSV, TextFiles
from litnets.data.core.base import ArrayDataModule
from litnets.data.core.batching import RaggedDataset
from litnets.data.core.fingerprint import Fingerprint, digest_each, digest_rows
from litnets.data.core.split_record import DataChanges, SplitRecord
from litnets.data.core.splits import PARTS, SplitSpec, split_indices
from litnets.data.text.base import TextDataModule
from litnets.errors import InputError
from tests.helpers.tiny_series import write_series
from tests.helpers.tiny_sound import write_wav

CLASSES = ("cat", "dog")
EACH = 10  # samples of each class

Values = dict[bytes, set[str]]  # the splits of each sample, by its content


# Data whose samples are files


def image(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="BMP")  # whose size does not depend on the pixels


def recording(path: Path, seed: int) -> None:
    write_wav(path, np.random.default_rng(seed).integers(-9000, 9000, 600).astype(np.int16))


def series(path: Path, seed: int) -> None:
    write_series(path, np.random.default_rng(seed).integers(100, 999, (9, 2)).astype(float), ("x", "y"), time=None)


def text(path: Path, seed: int) -> None:
    path.write_text(" ".join(map(str, np.random.default_rng(seed).integers(100, 999, 6))))


FILES: dict[str, tuple[str, Callable[[Path, int], None], Callable[[], ArrayDataModule]]] = {
    "images": ("bmp", image, lambda: ImageFolder("data", 8)),
    "images read in each batch": ("bmp", image, lambda: ImageFolder("data", 8, memory_budget=0)),
    "recordings": ("wav", recording, lambda: AudioFolder("data", sample_rate=8000)),
    "series": ("csv", series, lambda: SeriesFolder("data")),
    "texts": ("txt", text, lambda: TextFiles("data", min_count=1)),
}


class Folder:
    """A folder with one subfolder per class, and the changes that a user makes in it."""

    def __init__(self, suffix: str, write: Callable[[Path, int], None]) -> None:
        self.suffix, self.write = suffix, write
        for number, name in enumerate(CLASSES):
            Path("data", name).mkdir(parents=True)
            for index in range(EACH):
                write(self[name, index], EACH * number + index)

    def __getitem__(self, place: tuple[str, str | int]) -> Path:
        name, index = place
        return Path("data", name, f"{index:02}.{self.suffix}" if isinstance(index, int) else f"{index}.{self.suffix}")

    def copy(self) -> None:
        shutil.copy(self["cat", 2], self["cat", "02 (copy)"])

    def copy_into_another_class(self) -> None:
        shutil.copy(self["cat", 2], self["dog", "new"])

    def rename(self) -> None:
        self["cat", 3].rename(self["cat", "03b"])

    def rename_to_the_end(self) -> None:
        self["cat", 0].rename(self["cat", "zz"])

    def rename_all(self) -> None:
        for path in list(Path("data").rglob("*.*")):
            path.rename(path.with_name(f"x{path.name}"))

    def move_to_another_class(self) -> None:
        self["cat", 4].rename(self["dog", "moved"])

    def move_into_a_subfolder(self) -> None:
        Path("data/dog/more").mkdir()
        self["dog", 7].rename(self["dog", "more/07"])

    def swap_names(self) -> None:
        for index in range(EACH // 2):
            self["cat", index].rename("aside")
            self["cat", EACH - 1 - index].rename(self["cat", index])
            Path("aside").rename(self["cat", EACH - 1 - index])

    def add(self) -> None:
        self.write(self["dog", "05b"], 100)

    def add_many(self) -> None:
        for index in range(30):
            self.write(self["cat", f"a{index}"], 100 + index)

    def remove(self) -> None:
        self["cat", 5].unlink()

    def remove_several(self) -> None:
        for index in (0, 4, 9):
            self["dog", index].unlink()

    def edit(self) -> None:
        self.write(self["dog", 1], 100)

    def edit_all(self) -> None:
        for number, path in enumerate(sorted(Path("data").rglob("*.*"))):
            self.write(path, 100 + number)

    def edit_keeping_size_and_time(self) -> None:
        path = self["cat", 8]
        before = path.stat()
        self.write(path, 100)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size

    def overwrite_with_a_copy(self) -> None:
        for index in range(1, EACH):
            shutil.copy(self["cat", 0], self["cat", index])

    def rename_and_edit(self) -> None:
        self["cat", 6].unlink()
        self.write(self["cat", "other"], 100)

    def rename_and_copy(self) -> None:
        shutil.copy(self["cat", 6], self["cat", "06b"])
        self["cat", 6].rename(self["cat", "06a"])

    def touch(self) -> None:
        for path in Path("data").rglob("*.*"):
            os.utime(path, (1, 1))

    def write_again(self) -> None:
        for path in Path("data").rglob("*.*"):
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)


FILE_CHANGES: dict[Callable[[Folder], None], dict[str, Any]] = {
    Folder.copy: {"added": 1, "left_out": 1},
    Folder.copy_into_another_class: {"added": 1, "left_out": 1},
    Folder.rename: {"renamed": 1},
    Folder.rename_to_the_end: {"renamed": 1},
    Folder.rename_all: {"renamed": 2 * EACH},
    Folder.move_to_another_class: {"renamed": 1},
    Folder.move_into_a_subfolder: {"renamed": 1},
    Folder.swap_names: {"renamed": EACH},
    Folder.add: {"added": 1, "left_out": 1},
    Folder.add_many: {"added": 30, "left_out": 30},
    Folder.remove: {"missing": 1},
    Folder.remove_several: {"missing": 3},
    Folder.edit: {"changed": 1},
    Folder.edit_all: {"changed": 2 * EACH},
    Folder.edit_keeping_size_and_time: {"changed": 1},
    Folder.overwrite_with_a_copy: {"added": EACH - 1, "left_out": EACH - 1, "missing": EACH - 1},
    Folder.rename_and_edit: {"added": 1, "left_out": 1, "missing": 1},
    Folder.rename_and_copy: {"added": 1, "left_out": 1, "renamed": 1},
    Folder.touch: {},
    Folder.write_again: {},
}


# Data whose samples are rows

Rows = list[str]


def csv_table() -> Rows:
    random = np.random.default_rng(0)
    rows = [f"{a},{b:.4f},{CLASSES[i % 2]}" for i, (a, b) in enumerate(random.normal(size=(40, 2)))]
    return [*rows, rows[3], rows[20], rows[20]]  # equal rows, as there are in most tables


def csv_texts() -> Rows:
    random = np.random.default_rng(0)
    rows = [f"{' '.join(map(str, words))},{CLASSES[i % 2]}" for i, words in enumerate(random.integers(0, 99, (40, 5)))]
    return [*rows, rows[3], rows[20], rows[20]]


TABLES: dict[str, tuple[Callable[[], Rows], str, Callable[[], ArrayDataModule]]] = {
    "table": (csv_table, "x,y,kind", lambda: TableCSV("data.csv", "kind")),
    "texts": (csv_texts, "text,label", lambda: TextFiles("data.csv", min_count=1)),
}

NEW = {"table": "7.5,8.5,cat", "texts": "101 102 103,cat"}

ROW_CHANGES: dict[str, tuple[Callable[[Rows, str], Rows], dict[str, Any]]] = {
    "duplicate a row": (lambda rows, new: [*rows, rows[5]], {"added": 1, "left_out": 1}),
    "duplicate a row in place": (lambda rows, new: rows[:6] + rows[5:], {"added": 1, "left_out": 1}),
    "duplicate all rows": (lambda rows, new: rows * 2, {"added": 43, "left_out": 43}),
    "append a row": (lambda rows, new: [*rows, new], {"added": 1, "left_out": 1}),
    "insert a row at the top": (lambda rows, new: [new, *rows], {"added": 1, "left_out": 1}),
    "insert a row": (lambda rows, new: [*rows[:9], new, *rows[9:]], {"added": 1, "left_out": 1}),
    "remove a row": (lambda rows, new: rows[:9] + rows[10:], {"missing": 1}),
    "remove the first row": (lambda rows, new: rows[1:], {"missing": 1}),
    "remove a copy of a row": (lambda rows, new: rows[:-1], {"missing": 1}),
    "remove many rows": (lambda rows, new: rows[:20], {"missing": 23}),
    "edit a row": (lambda rows, new: [*rows[:9], new, *rows[10:]], {"changed": 1}),
    "edit and append": (
        lambda rows, new: [*rows[:9], f"1{new}", *rows[10:], new],
        {"added": 1, "left_out": 1, "changed": 1},
    ),
    "edit and remove": (lambda rows, new: [new, *rows[1:-4]], {"changed": 1, "missing": 4}),
    "edit a label": (lambda rows, new: [rows[0].replace("cat", "dog"), *rows[1:]], {"changed": 1}),
    "replace a row by a copy": (
        lambda rows, new: [*rows[:9], rows[10], *rows[10:]],
        {"added": 1, "left_out": 1, "missing": 1},
    ),
    "swap two rows": (lambda rows, new: [rows[1], rows[0], *rows[2:]], {"reordered": True}),
    "reverse": (lambda rows, new: rows[::-1], {"reordered": True}),
    "sort": (lambda rows, new: sorted(rows), {"reordered": True}),
    "sort and remove": (lambda rows, new: sorted(rows)[1:], {"reordered": True, "missing": 1}),
    "move a row to the end": (lambda rows, new: [*rows[1:], rows[0]], {"reordered": True}),
    "write again": (lambda rows, new: rows, {}),
}


def write_rows(header: str, rows: Rows) -> None:
    Path("data.csv").write_text("\n".join([header, *rows]) + "\n")


# Checks


def splits_of(module: ArrayDataModule) -> Values:
    """Return the splits of each sample, by its content; equal samples may be in several."""
    module.setup()
    splits: Values = {}
    for part, content in contents_of(module):
        splits.setdefault(content, set()).add(part)
    return splits


def contents_of(module: ArrayDataModule) -> Iterator[tuple[str, bytes]]:
    if isinstance(module, TextDataModule):
        samples, splits = module.read()
        for part, indices in splits.items():
            yield from ((part, samples[i].text.encode()) for i in indices.tolist())
        return
    for part, dataset in module.splits.items():
        for index in range(len(dataset)):
            inputs, _ = dataset[index]
            values = inputs[0] if isinstance(dataset, RaggedDataset) else inputs
            yield part, values.numpy().tobytes()


def check(build: Callable[[], ArrayDataModule], change: Callable[[], object], expected: dict[str, Any]) -> DataChanges:
    """Read data, change them, read them again as a later command does, and check what is reported."""
    first = build()
    before = splits_of(first)
    assert first.split_record is not None
    first.split_record.save(Path("split.npz"))
    change()
    later = build()
    later.recorded_split = SplitRecord.load(Path("split.npz"))
    after = splits_of(later)
    assert later.data_changes is not None
    assert later.data_changes.to_dict() == expected
    assert all(after[content] <= before[content] for content in before.keys() & after.keys())
    num_new = len(after.keys() - before.keys())
    assert num_new <= expected.get("changed", 0)  # only an edited sample brings new content into a split
    sizes = sum(len(split) for split in later.splits.values())
    assert sizes == sum(len(split) for split in first.splits.values()) - expected.get("missing", 0)
    return later.data_changes


@pytest.mark.slow
@pytest.mark.parametrize("change", FILE_CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("kind", FILES)
def test_no_file_changes_its_split(kind: str, change: Callable[[Folder], None]) -> None:
    suffix, write, build = FILES[kind]
    folder = Folder(suffix, write)
    check(build, lambda: change(folder), FILE_CHANGES[change])


@pytest.mark.parametrize("change", ROW_CHANGES)
@pytest.mark.parametrize("kind", TABLES)
def test_no_row_changes_its_split(kind: str, change: str) -> None:
    rows, header, build = TABLES[kind]
    edit, expected = ROW_CHANGES[change]
    write_rows(header, rows())
    check(build, lambda: write_rows(header, edit(rows(), NEW[kind])), expected)


@pytest.mark.parametrize("kind", TABLES)
def test_a_split_keeps_its_order_if_rows_are_reordered(kind: str) -> None:
    rows, header, build = TABLES[kind]
    write_rows(header, rows())
    first = build()
    first.setup()
    before = list(contents_of(first))
    write_rows(header, rows()[::-1])
    later = build()
    later.recorded_split = first.split_record
    later.setup()
    assert list(contents_of(later)) == before


def test_another_folder_with_the_same_files_has_the_same_split() -> None:
    Folder("bmp", image)
    first = ImageFolder("data", 8)
    before = splits_of(first)
    Path("data").rename("elsewhere")
    later = ImageFolder("elsewhere/", 8)
    later.recorded_split = first.split_record
    assert splits_of(later) == before
    assert not later.data_changes


def test_other_data_are_refused() -> None:
    folder = Folder("bmp", image)
    first = ImageFolder("data", 8)
    first.setup()
    folder.edit_all()
    folder.rename_all()
    later = ImageFolder("data", 8)
    later.recorded_split = first.split_record
    with pytest.raises(InputError, match=r"none of the 20 files belongs to the run, which had 20; .*--split_again"):
        later.setup()


# Splits defined by folders and files


def check_parts(first: ArrayDataModule, later: ArrayDataModule, expected: dict[str, Any]) -> Values:
    later.recorded_split = first.split_record
    after = splits_of(later)
    assert later.data_changes is not None
    assert later.data_changes.to_dict() == expected
    return after


def write_parts(parts: tuple[str, ...]) -> None:
    for number, part in enumerate(parts):
        for name in CLASSES:
            Path("data", part, name).mkdir(parents=True)
            for index in range(EACH):
                image(Path("data", part, name, f"{index}.bmp"), 1000 * number + EACH * (name == "dog") + index)


def test_a_file_moved_to_another_split_is_reported() -> None:
    write_parts(PARTS)
    first = ImageFolder("data", 8)
    before = splits_of(first)
    Path("data/train/cat/0.bmp").rename("data/test/cat/moved.bmp")
    image(Path("data/train/dog/new.bmp"), 5000)
    after = check_parts(first, ImageFolder("data", 8), {"added": 1, "moved": 1})
    changed = {content for content in before if after[content] != before[content]}
    assert [(before[content], after[content]) for content in changed] == [({"train"}, {"test"})]
    (new,) = after.keys() - before.keys()
    assert after[new] == {"train"}  # according to its folder


def test_files_added_to_a_folder_that_is_split_are_left_out() -> None:
    write_parts(("train", "test"))
    first = ImageFolder("data", 8)
    before = splits_of(first)
    image(Path("data/train/dog/new.bmp"), 5000)
    image(Path("data/test/dog/new.bmp"), 5001)
    after = check_parts(first, ImageFolder("data", 8), {"added": 2, "left_out": 1})
    assert {content: after[content] for content in before} == before
    (new,) = after.keys() - before.keys()
    assert after[new] == {"test"}


def test_a_row_moved_to_the_file_of_another_split_is_reported() -> None:
    Path("data").mkdir()
    rows = list(dict.fromkeys(csv_texts()))
    for part, some in (("train", rows[:30]), ("test", rows[30:])):
        Path("data", f"{part}.csv").write_text("\n".join(["text,label", *some]))
    first = TextFiles("data", min_count=1)
    before = splits_of(first)
    Path("data/train.csv").write_text("\n".join(["text,label", *rows[1:30]]))
    Path("data/test.csv").write_text("\n".join(["text,label", *rows[30:], rows[0]]))
    after = check_parts(first, TextFiles("data", min_count=1), {"moved": 1, "reordered": True})
    assert [content for content in before if after[content] != before[content]] == [rows[0].split(",")[0].encode()]


@pytest.mark.parametrize("prefixes", [("",), ("train_", "test_"), ("train_", "val_", "test_")])
def test_no_row_of_an_array_changes_its_split(prefixes: tuple[str, ...]) -> None:
    Path("data").mkdir()
    arrays = {}
    for number, prefix in enumerate(prefixes):
        random = np.random.default_rng(number)
        arrays[prefix] = random.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40, dtype=np.uint8) % 2
    write_arrays(arrays)
    first = ImageArrays("data")
    before = splits_of(first)
    images, targets = arrays[prefixes[0]]
    order = np.random.default_rng(9).permutation(39)  # without the last row
    arrays[prefixes[0]] = images[order], targets[order]
    write_arrays(arrays)
    after = check_parts(first, ImageArrays("data"), {"missing": 1, "reordered": True})
    assert len(after) == len(before) - 1
    assert {content: before[content] for content in after} == after


def write_arrays(arrays: dict[str, tuple[Any, Any]]) -> None:
    for prefix, (images, targets) in arrays.items():
        np.save(f"data/{prefix}inputs.npy", images)
        np.save(f"data/{prefix}targets.npy", targets)


# Series to forecast, which are split by time


def steps(size: int = 100, first: int = 0) -> list[str]:
    values = np.random.default_rng(0).normal(size=200)
    return [f"{first + i},{values[first + i]}" for i in range(size)]


def windows(lines: list[str], record: SplitRecord | None = None) -> SeriesCSV:
    Path("series.csv").write_text("\n".join(["time,load", *lines]))
    module = SeriesCSV("series.csv", look_back=4, horizon=2)
    module.recorded_split = record
    module.setup()
    return module


@pytest.mark.parametrize(
    ("lines", "expected", "lost"),
    [
        (steps(130), {"added": 30, "left_out": 30}, {}),
        (steps()[10:], {"missing": 10}, {"train": 10}),
        (steps()[:-3], {"missing": 3}, {"test": 3}),
        (steps(110)[10:], {"added": 10, "left_out": 10, "missing": 10}, {"train": 10}),
        (["-2,1.0", "-1,3.5", *steps()], {"added": 2, "left_out": 2}, {}),
        (steps(), {}, {}),
    ],
    ids=["append", "remove at the start", "remove at the end", "both", "insert at the start", "write again"],
)
def test_no_step_changes_its_split_when_a_series_grows_or_shrinks(
    lines: list[str], expected: dict[str, Any], lost: dict[str, int]
) -> None:
    first = windows(steps())
    before = splits_of(first)
    later = windows(lines, first.split_record)
    after = splits_of(later)
    assert later.data_changes is not None
    assert later.data_changes.to_dict() == expected
    assert {content: before[content] for content in after} == after
    for part in PARTS:
        assert len(later.splits[part]) == len(first.splits[part]) - lost.get(part, 0)


def test_edited_steps_are_reported() -> None:
    first = windows(steps())
    lines = steps()
    lines[50] = "50,0.125"
    later = windows(lines, first.split_record)
    assert later.data_changes is not None
    assert later.data_changes.to_dict() == {"changed": 1}
    assert str(later.data_changes) == "1 step changed (50)"


@pytest.mark.parametrize(
    "lines",
    [steps()[:40] + steps()[41:], [*steps()[:40], "39.5,0.1", *steps()[40:]]],
    ids=["removed", "inserted"],
)
def test_steps_in_the_middle_of_a_series_are_refused(lines: list[str]) -> None:
    first = windows(steps())
    with pytest.raises(InputError, match=r"steps were added or removed after 39, .* --split_again\).* --init_from"):
        windows(lines, first.split_record)


# The record and its digests


def test_a_saved_record_is_loaded_unchanged(tmp_path: Path) -> None:
    module = Digits(num_folds=5, fold=2)
    module.setup()
    record = module.split_record
    assert record is not None
    record.save(tmp_path / "split.npz")
    loaded = SplitRecord.load(tmp_path / "split.npz")
    assert loaded.spec == SplitSpec(0.2, 0.2, 0, 5, 2)
    assert loaded.datamodule == "Digits"
    assert (loaded.names == record.names).all()
    assert (loaded.contents == record.contents).all()
    assert (loaded.order == record.order).all()
    sizes = [len(module.splits[part]) for part in PARTS]
    assert list(loaded.sizes) == sizes


def test_a_damaged_record_is_refused_or_loaded_unchanged(tmp_path: Path) -> None:
    rows = Fingerprint.of_rows(digest_each(str(i).encode() for i in range(30)))
    splits = dict(zip(PARTS, split_indices(None, 30, SplitSpec(0.2, 0.2)), strict=True))
    SplitRecord.create("Mine", SplitSpec(0.2, 0.2), rows, splits).save(tmp_path / "split.npz")
    content = (tmp_path / "split.npz").read_bytes()
    good = SplitRecord.load(tmp_path / "split.npz")
    refused = 0
    for position in range(0, len(content), 7):
        (tmp_path / "split.npz").write_bytes(
            content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]
        )
        try:
            record = SplitRecord.load(tmp_path / "split.npz")
        except InputError:
            refused += 1
        else:
            assert (record.order == good.order).all()
            assert (record.contents == good.contents).all()
    assert refused > len(content) // 7 // 2


def test_a_compressed_record_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "split.npz", names=np.zeros(10_000_000, np.uint64))
    assert (tmp_path / "split.npz").stat().st_size < 100_000
    with pytest.raises(InputError, match="is damaged \\(its parts are compressed\\)"):
        SplitRecord.load(tmp_path / "split.npz")


def test_row_digests_depend_on_every_value() -> None:
    rows = torch.zeros(65 * 8, 65, dtype=torch.uint8)
    for bit in range(65 * 8):
        rows[bit, bit // 8] = 1 << bit % 8
    assert len(np.unique(digest_rows(rows))) == len(rows)
    signs = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]).double()
    assert len(np.unique(digest_rows(signs))) == 4


def test_the_digest_of_a_category_is_that_of_its_text() -> None:
    header, rows = "town,x,kind", [f"{'BCD'[i % 3]},{2 * i},{CLASSES[i % 2]}" for i in range(30)]
    write_rows(header, rows)
    first = TableCSV("data.csv", "kind")
    first.setup()
    write_rows(header, [*rows, "A,50,cat"])  # every town gets another number
    later = TableCSV("data.csv", "kind")
    later.recorded_split = first.split_record
    later.setup()
    assert later.data_changes is not None
    assert later.data_changes.to_dict() == {"added": 1, "left_out": 1}


def test_changes_are_summarized_in_one_sentence() -> None:
    changes = DataChanges("file", 5, 5, 1, 2, 0, 1, False, {"added": ["a.png", "b.png", "c.png"], "changed": ["d.png"]})
    assert str(changes) == (
        "5 files added and left out (a.png, b.png, c.png, ...), 1 changed (d.png), 1 moved to another split, 2 missing"
    )
    assert not DataChanges("file")
    assert str(DataChanges("row", reordered=True)) == "rows in another order"
