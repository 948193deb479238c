import re
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from litnets.data import Names
from litnets.data.core.batching import EpochSampler
from litnets.data.core.download import md5_of
from litnets.errors import InputError
from litnets.seeding import global_seed
from tests.helpers.tiny_text import tiny_names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny set; nothing else can be fetched."""
    tiny_names(tmp_path, monkeypatch)
    monkeypatch.setattr(Names, "source", "file:///nowhere/")
    return tmp_path


def ready(folder: Path, **arguments: float) -> Names:
    data = Names(str(folder), **arguments)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


def texts(data: Names, split: str) -> list[tuple[str, str]]:
    """Names of a split, read back from the tokens, and their languages."""
    part, found = data.splits[split], []
    for i in range(len(part)):
        (tokens, length), target = part[torch.tensor(i)]
        assert len(tokens) == length
        assert data.vocabulary is not None
        found.append(("".join(data.vocabulary.tokens[t] for t in tokens.tolist()), data.class_names[target]))
    return found


def test_every_line_is_a_sample(folder: Path) -> None:
    data = ready(folder)
    found = [sample for split in data.splits for sample in texts(data, split)]
    lines = [
        (line.strip(), path.stem) for path in (folder / "names").glob("*.txt") for line in path.read_text().splitlines()
    ]
    assert sorted(found) == sorted(lines)
    assert len(data.class_names) == data.num_classes == 18
    assert data.input_shape == (None,)


def test_copies_of_a_name_stay_together(folder: Path) -> None:
    for fold in range(5):
        data = ready(folder, num_folds=5, fold=fold)
        names = [{re.sub(r"\W", "", text.lower()) for text, _ in texts(data, split)} for split in data.splits]
        assert sum(map(len, names)) == len(set.union(*names))


def test_the_vocabulary_is_that_of_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each name of a language has a letter that stands in it twice and nowhere else.
    path = folder / "names" / "Polish.txt"
    odd = {chr(0x0430 + i) for i in range(20)}
    path.write_text("".join(f"a{letter}{letter}\n" for letter in sorted(odd)), encoding="utf-8")
    monkeypatch.setitem(Names.files, "Polish", md5_of(path))
    data = ready(folder)
    assert data.vocabulary is not None
    counts = Counter(c for text, _ in texts(data, "train") for c in text if text != "[UNK]")
    assert 14 <= len(odd & set(data.vocabulary.tokens)) == len(odd & set(counts)) <= 18
    assert set(data.vocabulary.tokens[2:]) <= set(counts)
    assert data.vocab_size == len(data.vocabulary.tokens)


def test_it_is_stratified(folder: Path) -> None:
    data = ready(folder, val_size=0.2, test_size=0.2)
    for split, low, high in (("train", 14, 17), ("val", 4, 7), ("test", 4, 7)):
        part = data.splits[split]
        counts = part.targets[part.indices].long().bincount(minlength=18)
        assert low <= counts.min() <= counts.max() <= high


def test_a_batch_is_padded_to_its_longest_name(folder: Path) -> None:
    data = ready(folder, batch_size=7)
    for raw in data.train_dataloader():
        (tokens, lengths), targets = data.on_after_batch_transfer(raw, 0)
        assert tokens.dtype == targets.dtype == torch.int64
        assert raw[0][0].dtype == raw[1].dtype == torch.uint8
        assert tokens.shape == (len(targets), lengths.max())
        inside = torch.arange(tokens.shape[1]) < lengths[:, None]
        assert (tokens[inside] > 0).all()
        assert (tokens[~inside] == 0).all()


def test_another_file_is_refused(folder: Path) -> None:
    path = folder / "names" / "Greek.txt"
    path.write_text(path.read_text() + "More\n")
    with pytest.raises(InputError, match=r"Greek.txt is not the file that belongs here: its MD5"):
        ready(folder)


def test_a_name_is_trained_on_once_a_language(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for language, name in (("Greek", "Robor"), ("Greek", "Robor"), ("Greek", "robor"), ("Irish", "Robor")):
        path = folder / "names" / f"{language}.txt"
        path.write_text(path.read_text() + f"{name}\n")
        monkeypatch.setitem(Names.files, language, md5_of(path))
    for seed in range(9):  # the first in which the name is trained on
        every, once = (ready(folder, split_seed=seed, train_copies=copies) for copies in (True, False))
        if ("Robor", "Greek") in texts(every, "train"):
            break
    assert len(texts(every, "train")) > len(set(texts(every, "train")))
    assert sorted(texts(once, "train")) == sorted(set(texts(every, "train")))
    assert {("Robor", "Greek"), ("robor", "Greek"), ("Robor", "Irish")} <= set(texts(once, "train"))
    for split in ("val", "test"):
        assert texts(once, split) == texts(every, split)
    assert once.state_dict() == every.state_dict()
    counts = Counter(language for _, language in texts(every, "train"))
    shares = [counts[name] / counts.total() for name in every.class_names]
    assert once.class_shares == pytest.approx(shares) == every.class_shares
    assert sum(once.class_counts or []) == len(once.splits["train"])


def test_batches_of_names_of_any_length(folder: Path) -> None:
    like, mixed = (ready(folder, batch_size=16, group_by_length=grouped) for grouped in (True, False))
    spread = [
        [(lengths.max() - lengths.min()).item() for (_, lengths), _ in data.train_dataloader()]
        for data in (like, mixed)
    ]
    assert max(spread[0][:-1]) < sum(spread[1]) / len(spread[1])
    chosen = torch.cat(list(mixed.train_dataloader().batch_sampler))  # type: ignore[arg-type]
    assert torch.equal(chosen, EpochSampler(len(chosen), True, global_seed()).order())
    assert max(max(lengths) - min(lengths) for (_, lengths), _ in mixed.val_dataloader()) > 5  # one batch
    sampler: Any = mixed.val_dataloader().batch_sampler
    assert torch.equal(sampler.lengths, mixed.splits["val"].split_lengths)  # type: ignore[union-attr]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the tiny files."""
    tiny_names(tmp_path / "served", monkeypatch)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None: ...

    handler = partial(Handler, directory=str(tmp_path / "served" / "names"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()
        thread.join()


def test_it_is_downloaded_once(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Names, "source", server)
    assert len(ready(tmp_path / "fresh").splits["train"]) > 300
    assert capsys.readouterr().out.count("downloading") == 18
    ready(tmp_path / "fresh")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(Names, "files", {"Greek": "0" * 32})
    with pytest.raises(InputError, match="could not be downloaded"):
        ready(tmp_path / "wrong")


def test_a_checkpoint_brings_its_vocabulary(folder: Path) -> None:
    data = ready(folder)
    state = data.state_dict()
    other = ready(folder, split_seed=5, min_count=100)
    assert other.vocab_size != data.vocab_size
    other.load_state_dict(state)
    assert other.state_dict() == state
    fresh = Names(str(folder))
    fresh.load_state_dict(state)
    fresh.setup()
    assert texts(fresh, "test") == texts(data, "test")


@pytest.mark.slow
def test_the_real_files(real_data: Path) -> None:
    data = ready(real_data)
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sum(sizes.values()) == 20_050
    assert abs(sizes["val"] - 2005) < 60
    assert abs(sizes["test"] - 2005) < 60
    names = [
        {text.strip().casefold() for text, _ in texts(data, split) if "[UNK]" not in text} for split in data.splits
    ]
    assert sum(map(len, names)) == len(set.union(*names))
    assert data.class_counts is not None
    assert min(data.class_counts) > 50
