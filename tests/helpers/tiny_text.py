"""Tiny text data sets in the real on-disk formats."""

import csv
import hashlib
import json
import random
from pathlib import Path

import pytest

from litnets.data import Names
from litnets.data.text.names import FILES

Rows = list[tuple[str, str]]

LETTERS = "abcdefghijklmnopqrs"


def write_names(folder: Path, each: int = 26) -> dict[str, str]:
    """Write a tiny `folder/names` with `each` names per language, and return the MD5 checksum of each file.

    The last line of a file duplicates the first with other spaces and case. Names of language k repeat the k-th letter.
    """
    rng = random.Random(0)
    (folder / "names").mkdir(parents=True)
    checksums = {}
    for k, language in enumerate(FILES):
        names = ["".join(rng.choices(LETTERS, k=rng.randint(1, 9))) + 3 * LETTERS[k] for _ in range(each - 1)]
        content = "".join(f"{name}\n" for name in [*(name.title() for name in names), f"{names[0].upper()} "]).encode()
        (folder / "names" / f"{language}.txt").write_bytes(content)
        checksums[language] = hashlib.md5(content).hexdigest()
    return checksums


def tiny_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Write a tiny data set and return the arguments of `Names` that read it."""
    monkeypatch.setattr(Names, "files", write_names(folder))
    return {"data_dir": str(folder)}


def rows(size: int = 120) -> Rows:
    """Return texts of 1 to 12 words, which alternate between three classes. One word identifies each class."""
    rng = random.Random(0)
    words = [f"w{i}" for i in range(30)]
    return [
        (" ".join([*rng.choices(words, k=rng.randint(0, 11)), ("good", "bad", "so-so")[i % 3]]), "abc"[i % 3])
        for i in range(size)
    ]


def write_texts(path: Path, content: Rows, columns: tuple[str, str] = ("text", "label")) -> Path:
    """Write texts and classes in the format that the suffix names; without a suffix, as one folder per class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in content]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, "excel" if path.suffix == ".csv" else "excel-tab").writerows([columns, *content])
    else:
        for i, (text, label) in enumerate(content):
            (path / label).mkdir(parents=True, exist_ok=True)
            (path / label / f"{i:04d}.txt").write_text(text, encoding="utf-8")
    return path
