from pathlib import Path
from typing import Any

import pytest
import torch

from litnets.data import TextFiles
from litnets.errors import InputError
from tests.helpers.tiny_text import Rows, rows, write_texts

FORMS = ["t.csv", "t.tsv", "t.jsonl", "t"]


def ready(path: Path, **arguments: Any) -> TextFiles:
    data = TextFiles(str(path), **{"min_count": 1} | arguments)
    data.prepare_data()
    data.setup()
    return data


def texts(data: TextFiles, split: str) -> Rows:
    part = data.splits[split]
    assert data.vocabulary is not None
    return [
        (" ".join(data.vocabulary.tokens[t] for t in tokens.tolist()), data.class_names[target])
        for (tokens, _), target in (part[torch.tensor(i)] for i in range(len(part)))
    ]


def all_texts(data: TextFiles) -> Rows:
    return sorted(sample for split in ("train", "val", "test") for sample in texts(data, split))


@pytest.mark.parametrize("form", FORMS)
def test_every_file_format_gives_the_same_samples(form: str, tmp_path: Path) -> None:
    data = ready(write_texts(tmp_path / form, rows()))
    expected = sorted((text.replace("so-so", "so - so"), label) for text, label in rows())
    assert all_texts(data) == expected
    assert data.class_names == ["a", "b", "c"]
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == pytest.approx([72, 24, 24], abs=8)


@pytest.mark.parametrize("form", ["t.csv", "t.tsv", "t.jsonl"])
def test_column_names_are_options_and_texts_may_hold_separators_quotes_and_newlines(form: str, tmp_path: Path) -> None:
    content = [row for i in range(6) for row in (('a, "b"\tc\nd' + "d" * i, "x"), ("é, ø" + "ø" * i, "y"))]
    path = write_texts(tmp_path / form, content, ("the quote", "by"))
    data = ready(path, text_column="the quote", label_column="by", tokens="characters")
    read = [text.replace(" ", "") for text, _ in all_texts(data) if text.startswith("a")]
    assert read == ['a,"b"cd' + "d" * i for i in range(6)]


@pytest.mark.parametrize("form", ["t.csv", "t.tsv"])
def test_a_table_may_have_no_header(form: str, tmp_path: Path) -> None:
    path = write_texts(tmp_path / form, rows()[1:], columns=rows()[0])
    data = ready(path, header=False, text_column="column_1", label_column="column_2")
    assert all_texts(data) == sorted((text.replace("so-so", "so - so"), label) for text, label in rows())
    assert len(data.load_predict(path)) == 120
    with pytest.raises(InputError, match=r"no column 'text'.*; set --data.text_column, or --data.header false if the"):
        ready(path)
    with pytest.raises(InputError, match=r"no column 'text' \(columns: column_1, column_2\); set --data.text_column$"):
        ready(path, header=False)


def test_semicolons_are_recognized(tmp_path: Path) -> None:
    rows = [f"good {i}, indeed;pos\nbad {i}, alas;neg" for i in range(10)]
    (tmp_path / "a.csv").write_text("text;label\n" + "\n".join(rows) + "\n")
    data = ready(tmp_path / "a.csv", tokens="words")
    assert data.class_names == ["neg", "pos"]
    assert len(all_texts(data)) == 20


def test_classes_may_be_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        "\ufeff" + "".join(f'{{"text": "w{i}", "label": {i % 2}, "id": 3}}\n\n' for i in range(20))
    )
    assert ready(tmp_path / "t.jsonl").class_names == ["0", "1"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("with_val", [False, True])
def test_existing_splits_are_kept(form: str, with_val: bool, tmp_path: Path) -> None:
    parts = {"train": rows(90), "test": [(f"new{i} good", "ab"[i % 2]) for i in range(10)]}
    if with_val:
        parts["val"] = [(f"other{i}", "c") for i in range(6)]
    for name, content in parts.items():
        write_texts(tmp_path / form.replace("t", name, 1), content)
    data = ready(tmp_path)
    assert sorted(label for _, label in texts(data, "test")) == ["a"] * 5 + ["b"] * 5
    assert {text for text, _ in texts(data, "test")} == {"[UNK] good"}
    if with_val:
        assert texts(data, "val") == [("[UNK]", "c")] * 6
        assert len(data.splits["train"]) == 90
        size = 96
    else:
        assert len(data.splits["train"]) + len(data.splits["val"]) == 90
        assert len(data.splits["val"]) == pytest.approx(18, abs=5)
        size = 90
    folds = [ready(tmp_path, num_folds=3, fold=fold) for fold in range(3)]
    assert sum(len(fold.splits["val"]) for fold in folds) == size
    assert all(len(fold.splits["train"]) + len(fold.splits["val"]) == size for fold in folds)
    assert all(len(fold.splits["test"]) == 10 for fold in folds)


@pytest.mark.parametrize("form", ["t.CSV", "t.TSV", "t.JSONL"])
def test_suffixes_are_case_insensitive(form: str, tmp_path: Path) -> None:
    path = write_texts(tmp_path / form.lower(), rows()).rename(tmp_path / form)
    assert len(all_texts(ready(path))) == 120
    for part in ("train", "test"):
        path.with_name(form.replace("t", part, 1)).write_bytes(path.read_bytes())
    assert len(all_texts(ready(tmp_path))) == 240


def test_class_folders_are_searched_recursively_without_hidden_files(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "t", rows())
    first, second, *_ = sorted((folder / "a").iterdir())
    first.rename(first.with_suffix(".TXT"))
    (folder / "a" / "more").mkdir()
    second.rename(folder / "a" / "more" / second.name)
    (folder / "a" / "._0.txt").write_bytes(b"\xff")
    assert len(all_texts(ready(folder))) == 120


def write_class_files(folder: Path, content: Rows) -> Path:
    folder.mkdir(parents=True)
    for text, label in content:
        with (folder / f"{label}.txt").open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    return folder


def test_a_file_per_class_holds_a_text_in_each_line(tmp_path: Path) -> None:
    folder = write_class_files(tmp_path / "t", rows())
    with (folder / "c.txt").open("a", newline="") as file:
        file.write("\r\n \r\ngood\u2028bad\r\nbad")
    (folder / "notes.md").write_text("no class")
    data = ready(folder)
    assert data.class_names == ["a", "b", "c"]
    expected = [(text.replace("so-so", "so - so"), label) for text, label in rows()]
    assert all_texts(data) == sorted([*expected, ("good bad", "c"), ("bad", "c")])


def test_texts_are_in_one_class(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "t", rows(30))
    (folder / "a" / "more").symlink_to(folder / "b")
    with pytest.raises(InputError, match=r"10 files are linked into two classes or splits; .*\n.*a/more"):
        ready(folder)
    (folder / "a" / "more").unlink()
    (folder / "a" / "up").symlink_to(folder)
    with pytest.raises(InputError, match=r"a/up links to .*, which contains it"):
        ready(folder)
    write_class_files(tmp_path / "lines", [("x y", "caf\u00e9"), ("y", "cafe\u0301")])
    with pytest.raises(InputError, match=r"two classes are named .* look the same"):
        ready(tmp_path / "lines")


def test_lines_are_recognized_when_others_are_added(tmp_path: Path) -> None:
    folder = write_class_files(tmp_path / "t", rows())
    before = ready(folder)
    lines = (folder / "a.txt").read_text().splitlines()
    (folder / "a.txt").write_text("\n".join(["a new text", *lines]))
    after = TextFiles(str(folder), min_count=1)
    after.recorded_split = before.split_record
    after.setup()
    assert {name: texts(after, name) for name in after.splits} == {name: texts(before, name) for name in before.splits}
    assert after.data_changes is not None
    assert after.data_changes.to_dict() == {"added": 1, "left_out": 1}


@pytest.mark.parametrize("names", [("train", "dev", "test"), ("Train", "Valid", "TEST")])
def test_files_per_class_are_read_in_folders_of_splits(names: tuple[str, str, str], tmp_path: Path) -> None:
    for number, name in enumerate(names):
        write_class_files(tmp_path / name, [(f"{name}{i}", "ab"[i % 2]) for i in range(4 + number)])
    data = ready(tmp_path)
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 4, "val": 5, "test": 6}
    assert sorted(texts(data, "train")) == [(f"{names[0]}{i}", "ab"[i % 2]) for i in range(4)]


def test_new_files_are_read_as_in_training(tmp_path: Path) -> None:
    lines = ready(write_class_files(tmp_path / "lines", rows()))
    files = ready(write_texts(tmp_path / "files", rows()))
    (tmp_path / "new.txt").write_text("good\nbad\n")
    for trained, expected in ((lines, 2), (files, 1)):
        data = TextFiles("nowhere", predict_path=str(tmp_path / "new.txt"))
        data.load_state_dict(trained.state_dict())
        assert len(data.load_predict(tmp_path / "new.txt")) == expected


def test_files_that_are_left_out_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "validation", "tset"):
        write_texts(tmp_path / f"{name}.csv", [(f"{name} {i}", "ab"[i % 2]) for i in range(20)])
    (tmp_path / "notes.txt").write_text("no table")
    data = ready(tmp_path)
    assert [len(data.splits[part]) for part in ("train", "val", "test")] == [16, 20, 4]
    assert capsys.readouterr().out == f"{tmp_path}: tset.csv left out; expected train, val and test\n"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_the_split_may_come_after_the_name_of_the_data(suffix: str, tmp_path: Path) -> None:
    for name, size in (("reviews_train", 20), ("reviews-dev", 6), ("reviews.test", 4), ("latest", 8)):
        write_texts(tmp_path / f"{name}.{suffix}", [(f"{name} {i}", "ab"[i % 2]) for i in range(size)])
    assert [len(ready(tmp_path).splits[part]) for part in ("train", "val", "test")] == [20, 6, 4]


def test_duplicates_stay_in_one_split(tmp_path: Path) -> None:
    copies = [(f"{text.upper()}!", label) for text, label in rows(60)]
    data = ready(write_texts(tmp_path / "t.csv", rows(60) + copies), lowercase=True)
    distinct = [{text.rstrip(" !") for text, _ in texts(data, split)} for split in data.splits]
    assert sum(map(len, distinct)) == len(set.union(*distinct))


def test_the_vocabulary_comes_from_training_texts_only(tmp_path: Path) -> None:
    unique = [(f"t{i}", "ab"[i % 2]) for i in range(50)]
    data = ready(write_texts(tmp_path / "t.csv", unique))
    assert data.vocab_size == 2 + len(data.splits["train"])
    assert {text for split in ("val", "test") for text, _ in texts(data, split)} == {"[UNK]"}
    assert "[UNK]" not in {text for text, _ in texts(data, "train")}


@pytest.mark.parametrize(("size", "dtype"), [(100, torch.uint8), (1000, torch.int16), (33_000, torch.int32)], ids=str)
def test_tokens_are_stored_in_the_smallest_type(size: int, dtype: torch.dtype, tmp_path: Path) -> None:
    words = " ".join(f"w{i}" for i in range(size))
    rows = [(f"{words} w{i}", "ab"[i % 2]) for i in range(12)]
    data = ready(write_texts(tmp_path / "t.jsonl", rows), max_vocab_size=10**6, max_length=10**6)
    assert data.splits["train"].values.dtype == dtype  # type: ignore[union-attr]
    assert data.vocabulary is not None
    assert set(texts(data, "train")) < set(rows)


def test_long_texts_are_truncated(tmp_path: Path) -> None:
    data = ready(write_texts(tmp_path / "t.csv", rows()), max_length=3)
    assert {len(text.split()) for text, _ in all_texts(data)} == {1, 2, 3}
    with pytest.raises(InputError, match="max_length"):
        TextFiles("t.csv", max_length=0)


def test_subwords_survive_a_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    data = ready(write_texts(tmp_path / "t.csv", rows()), tokens="subwords", max_vocab_size=60)
    assert data.vocab_size <= 60
    assert {"▁good", "▁bad"} <= set(data.vocabulary.tokens)  # type: ignore[union-attr]
    other = TextFiles(str(tmp_path / "t.csv"), split_seed=3)
    other.load_state_dict(data.state_dict())
    other.setup()
    assert other.vocab_size == data.vocab_size
    texts_of_both = [sorted(text for text, _ in all_texts(d)) for d in (data, other)]
    assert texts_of_both[0] == texts_of_both[1]


GOOD = "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(20))

INVALID: dict[str, tuple[str, str | bytes, str]] = {
    "not UTF-8": ("t.csv", b"text,label\nok,a\ncaf\xe9,b\n", r"t.csv, line 3: not UTF-8 \(byte 0xe9 at offset 19\)"),
    "missing column": (
        "t.csv",
        "txt,label\nok,a\n",
        r"t.csv, line 2: no column 'text'; did you mean 'txt'\? \(columns: txt",
    ),
    "missing label": ("t.jsonl", '{"text": "a"}\n', r"t.jsonl, line 1: no column 'label' .*--data.label_column"),
    "empty file": ("t.csv", "", r"t.csv: the file is empty"),
    "header only": ("t.csv", "text,label\n", r"t.csv: expected at least one text, got none"),
    "empty text": ("t.csv", f"text,label\n{GOOD}  ,a\n", r"t.csv, line 22: the text is empty"),
    "empty label": ("t.csv", "text,label\nok,a\nok, \n", r"t.csv, line 3: expected a class in 'label', got \" \""),
    "too many cells": ("t.csv", "text,label\nah, yes,a\n", r"t.csv, line 2: expected 2 cells .*, got 3"),
    "too few cells": ("t.tsv", "text\tlabel\nyes\n", r"t.tsv, line 2: expected 2 cells .*, got 1"),
    "open quote": ("t.csv", 'text,label\n"yes,a\nno,b\n', r"t.csv, line 3: not valid CSV"),
    "duplicate column": ("t.csv", "text,label,text\na,b,c\n", r"t.csv: two columns are named 'text'; rename one"),
    "not JSON": ("t.jsonl", '{"text": "a", "label": 1}\n{"text"', r"t.jsonl, line 2: not valid JSON"),
    "not an object": ("t.jsonl", "[1, 2]\n", r"t.jsonl, line 1: expected an object"),
    "not a text": ("t.jsonl", '{"text": 3, "label": 1}\n', r"t.jsonl, line 1: expected a text in 'text', got 3"),
    "missing class": (
        "t.jsonl",
        '{"text": "a", "label": null}\n',
        r"t.jsonl, line 1: expected a class in 'label', got null",
    ),
    "one class": ("t.csv", "text,label\na,x\nb,x\n", r"every text has the class 'x'; expected two or more"),
    "one sample": ("t.csv", f"text,label\n{GOOD}zoo,c\n", r"t.csv, line 22: the only text of the class 'c'"),
    "unsupported format": ("t.docx", "x", r"t.docx: expected a .csv, .tsv or .jsonl file, or a folder"),
}


@pytest.mark.parametrize("fault", INVALID)
def test_invalid_files_are_refused(fault: str, tmp_path: Path) -> None:
    name, content, message = INVALID[fault]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        ready(tmp_path / name)


def test_missing_files_are_reported_with_a_suggestion(tmp_path: Path) -> None:
    write_texts(tmp_path / "reviews.csv", rows())
    with pytest.raises(InputError, match=r"review.csv: no such file or folder; did you mean 'reviews.csv'\?"):
        ready(tmp_path / "review.csv")
    with pytest.raises(InputError, match="no such file or folder"):
        ready(tmp_path / "nowhere" / "t")


def test_invalid_folders_are_refused(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "t", rows(30))
    (folder / "b" / "0001.txt").write_text(" \n")
    with pytest.raises(InputError, match=r"b/0001.txt: the file is empty"):
        ready(folder)
    (folder / "d").mkdir()
    (folder / "b" / "0001.txt").write_text("good")
    with pytest.raises(InputError, match=r"t/d contains no text \(.txt\); add some or remove the folder"):
        ready(folder)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match=r"expected one subfolder of .txt files per class, or one .*, got none"):
        ready(tmp_path / "nothing")


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_without_training_texts_is_refused(split: str, tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        write_texts(tmp_path / f"{name}.csv", rows(12) + ([("new", "aa")] if name == split else []))
    with pytest.raises(
        InputError, match=rf"{split}.csv, line 14: no training text has the class 'aa'; did you mean 'a'\?"
    ):
        ready(tmp_path)


def test_all_classes_without_training_texts_are_named(tmp_path: Path) -> None:
    write_texts(tmp_path / "train.csv", rows(12))
    write_texts(tmp_path / "test.csv", [*rows(12), ("x", "fox"), ("y", "owl"), ("z", "elk"), ("z z", "elk")])
    with pytest.raises(InputError, match=r"line 16: no .* class 'elk' .*: a, b, c; others .*: fox, owl\)"):
        ready(tmp_path)


def test_a_class_of_duplicates_is_complete_in_one_split_or_refused(tmp_path: Path) -> None:
    content = rows(100) + [("same", "z")] * 4
    outcomes: list[int | str] = []
    for seed in range(20):
        try:
            outcomes.append(len(ready(write_texts(tmp_path / "t.csv", content), split_seed=seed).class_names))
        except InputError as error:
            outcomes.append(str(error))
    assert all(result == 4 or "no training text has the class 'z'" in str(result) for result in outcomes)
    assert 4 in outcomes


def test_labels_are_compared_as_written(tmp_path: Path) -> None:
    labels = ["01", "1", "02", "1E2", "10E1"]
    path = write_texts(tmp_path / "t.csv", [(f"text {i}", labels[i % 5]) for i in range(50)])
    assert ready(path, min_count=1).class_names == ["01", "02", "1", "10E1", "1E2"]


def test_a_checkpoint_recognizes_classes_that_only_look_different(tmp_path: Path) -> None:
    trained = ready(write_texts(tmp_path / "a.csv", [(f"text {i}", str(i % 2)) for i in range(50)]))
    again = TextFiles(str(write_texts(tmp_path / "b.csv", [(f"text {i}", f"{i % 2}.0") for i in range(50)])))
    again.load_state_dict(trained.state_dict())
    again.setup()
    assert again.class_names == ["0", "1"]
    assert torch.equal(again.splits["test"].targets, trained.splits["test"].targets)


def test_files_of_splits_may_be_named(tmp_path: Path) -> None:
    for name, count in (("a", 40), ("b", 6), ("c", 8)):
        write_texts(tmp_path / f"{name}.csv", [(f"{name} {i}", str(i % 2)) for i in range(count)])
    data = ready(tmp_path / "a.csv", val_path=str(tmp_path / "b.csv"), test_path=str(tmp_path / "c.csv"))
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [40, 6, 8]


def test_a_file_beside_the_training_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "dev"):
        write_texts(tmp_path / f"{name}.csv", rows())
    ready(tmp_path / "train.csv")
    assert f"{tmp_path}: dev.csv not used; to use it as a split, set --data.val_path" in capsys.readouterr().out
