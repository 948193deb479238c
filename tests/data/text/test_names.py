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

from litnets.__main__ import main
from litnets.data import Names
from litnets.data.core.batching import EpochSampler
from litnets.data.core.download import md5_of
from litnets.errors import InputError
from litnets.seeding import global_seed
from litnets.training.resume import loop_state
from tests.helpers.tiny_text import tiny_names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny data set; downloads fail."""
    tiny_names(tmp_path, monkeypatch)
    monkeypatch.setattr(Names, "source", "file:///nowhere/")
    return tmp_path


def ready(folder: Path, **arguments: float) -> Names:
    data = Names(str(folder), **arguments)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


def texts(data: Names, split: str) -> list[tuple[str, str]]:
    """Return the names of a split, decoded from their tokens, with their languages."""
    part, samples = data.splits[split], []
    for i in range(len(part)):
        (tokens, length), target = part[torch.tensor(i)]
        assert len(tokens) == length
        assert data.vocabulary is not None
        samples.append(("".join(data.vocabulary.tokens[t] for t in tokens.tolist()), data.class_names[target]))
    return samples


def test_every_line_is_a_sample(folder: Path) -> None:
    data = ready(folder)
    samples = [sample for split in data.splits for sample in texts(data, split)]
    lines = [
        (line.strip(), path.stem) for path in (folder / "names").glob("*.txt") for line in path.read_text().splitlines()
    ]
    assert sorted(samples) == sorted(lines)
    assert len(data.class_names) == data.num_classes == 18
    assert data.input_shape == (None,)


def test_duplicates_of_a_name_stay_in_one_split(folder: Path) -> None:
    for fold in range(5):
        data = ready(folder, num_folds=5, fold=fold)
        names = [{re.sub(r"\W", "", text.lower()) for text, _ in texts(data, split)} for split in data.splits]
        assert sum(map(len, names)) == len(set.union(*names))


def test_the_vocabulary_comes_from_training_names_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each Polish name consists of an "a" and two copies of a letter that occurs in no other name.
    path = folder / "names" / "Polish.txt"
    cyrillic = {chr(0x0430 + i) for i in range(20)}
    path.write_text("".join(f"a{letter}{letter}\n" for letter in sorted(cyrillic)), encoding="utf-8")
    monkeypatch.setitem(Names.files, "Polish", md5_of(path))
    data = ready(folder)
    assert data.vocabulary is not None
    counts = Counter(c for text, _ in texts(data, "train") for c in text if text != "[UNK]")
    assert 14 <= len(cyrillic & set(data.vocabulary.tokens)) == len(cyrillic & set(counts)) <= 18
    assert set(data.vocabulary.tokens[2:]) <= set(counts)
    assert data.vocab_size == len(data.vocabulary.tokens)


def test_splits_are_stratified(folder: Path) -> None:
    data = ready(folder, val_size=0.2, test_size=0.2)
    for split, low, high in (("train", 14, 17), ("val", 4, 7), ("test", 4, 7)):
        part = data.splits[split]
        counts = part.targets[part.indices].long().bincount(minlength=18)
        assert low <= counts.min() <= counts.max() <= high


def test_batches_are_padded_to_the_longest_name(folder: Path) -> None:
    data = ready(folder, batch_size=7)
    for raw in data.train_dataloader():
        (tokens, lengths), targets = data.on_after_batch_transfer(raw, 0)
        assert tokens.dtype == targets.dtype == torch.int64
        assert raw[0][0].dtype == raw[1].dtype == torch.uint8
        assert tokens.shape == (len(targets), lengths.max())
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        assert (tokens[mask] > 0).all()
        assert (tokens[~mask] == 0).all()


def test_a_modified_file_is_refused(folder: Path) -> None:
    path = folder / "names" / "Greek.txt"
    path.write_text(path.read_text() + "More\n")
    with pytest.raises(InputError, match=r"Greek.txt is corrupted: its MD5 is \w+, expected \w+; delete it"):
        ready(folder)


def test_deduplicate_train_keeps_one_copy_per_language(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for language, name in (("Greek", "Robor"), ("Greek", "Robor"), ("Greek", "robor"), ("Irish", "Robor")):
        path = folder / "names" / f"{language}.txt"
        path.write_text(path.read_text() + f"{name}\n")
        monkeypatch.setitem(Names.files, language, md5_of(path))
    for seed in range(9):  # until the name is in the training split
        data, unique = (ready(folder, split_seed=seed, deduplicate_train=value) for value in (False, True))
        if ("Robor", "Greek") in texts(data, "train"):
            break
    assert len(texts(data, "train")) > len(set(texts(data, "train")))
    assert sorted(texts(unique, "train")) == sorted(set(texts(data, "train")))
    assert {("Robor", "Greek"), ("robor", "Greek"), ("Robor", "Irish")} <= set(texts(unique, "train"))
    for split in ("val", "test"):
        assert texts(unique, split) == texts(data, split)
    assert unique.state_dict() == data.state_dict()
    counts = Counter(language for _, language in texts(data, "train"))
    fractions = [counts[name] / counts.total() for name in data.class_names]
    assert unique.class_shares == pytest.approx(fractions) == data.class_shares
    assert sum(unique.class_counts or []) == len(unique.splits["train"])


def test_the_former_option_train_copies_still_works() -> None:
    message = "^the option train_copies is now called deduplicate_train; replace it by deduplicate_train: true$"
    with pytest.warns(FutureWarning, match=message):
        assert Names(train_copies=False).deduplicate_train


def test_the_default_of_the_former_option_is_no_choice() -> None:
    """It is in the configuration of every earlier run."""
    assert Names(train_copies=True, deduplicate_train=True).deduplicate_train
    assert not Names(train_copies=True).deduplicate_train


@pytest.mark.slow
def test_a_run_with_the_former_option_is_resumed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rename the option back in the configuration of a run, as older versions wrote it."""
    data = ["--data", "Names", "--data.data_dir", str(folder), "--data.deduplicate_train", "true"]
    options = ["--model", "RNNClassifier", "--model.hidden_size", "4", *data, "--trainer.logger", "false"]
    assert main(["fit", *options, "--trainer.max_epochs", "1"]) == 0
    (config,) = Path("checkpoints").glob("*/*/config.yaml")

    def rename_back(text: str) -> str:
        renamed = re.sub("deduplicate_train: true\n", "train_copies: false\n", text)
        renamed, count = re.subn(" *train_copies: null\n", "", renamed)
        assert count == 1
        return renamed

    config.write_text(rename_back(config.read_text()))
    for path in config.parent.glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        content[loop_state.KEY]["config"] = rename_back(content[loop_state.KEY]["config"])
        torch.save(content, path)
    capsys.readouterr()
    assert main(["resume", str(config.parent), "--trainer.max_epochs", "2"]) == 0
    output, reports = capsys.readouterr()
    assert reports == (
        "litnets: the option train_copies is now called deduplicate_train; replace it by deduplicate_train: true\n"
    )
    assert "trainer.max_epochs: 1 -> 2" in output
    assert "init_args" not in output


def test_group_by_length_applies_to_training_only(folder: Path) -> None:
    grouped, mixed = (ready(folder, batch_size=16, group_by_length=value) for value in (True, False))
    grouped_ranges, mixed_ranges = (
        [(lengths.max() - lengths.min()).item() for (_, lengths), _ in data.train_dataloader()]
        for data in (grouped, mixed)
    )
    assert max(grouped_ranges[:-1]) < sum(mixed_ranges) / len(mixed_ranges)
    order = torch.cat(list(mixed.train_dataloader().batch_sampler))  # type: ignore[arg-type]
    assert torch.equal(order, EpochSampler(len(order), True, global_seed()).order())
    assert max(max(lengths) - min(lengths) for (_, lengths), _ in mixed.val_dataloader()) > 5  # one batch
    sampler: Any = mixed.val_dataloader().batch_sampler
    assert torch.equal(sampler.lengths, mixed.splits["val"].split_lengths)  # type: ignore[union-attr]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a local server with the tiny files."""
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


def test_files_are_downloaded_once(
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


def test_a_checkpoint_restores_its_vocabulary(folder: Path) -> None:
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
def test_the_real_data_set(real_data: Path) -> None:
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
