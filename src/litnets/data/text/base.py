"""What DataModules of texts share: tokens in memory, batches of like length, a vocabulary kept with the run."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litnets.data.core.base import ArrayDataModule
from litnets.data.core.batching import RaggedDataset, smallest_type
from litnets.data.core.class_folders import names_in, new_files
from litnets.data.text.reading import TABLES, Sample, read_samples, read_utf8
from litnets.data.text.vocabulary import PADDING, UNKNOWN, Tokens, Vocabulary, normalize, same_text_key
from litnets.errors import InputError, did_you_mean


class TextDataModule(ArrayDataModule):
    """Texts in memory as tokens, each in the smallest type that holds the vocabulary: `(steps,)` of all texts, one
    behind the other, of which batches of like length are cut. A batch is `((tokens, lengths), targets)`.

    Vocabulary and classes come from the training split alone and are kept with the run.

    Args:
        tokens: What a text is cut into: `characters`, `words` or `subwords` (byte pair encoding; needs the extra
            `text`).
        lowercase: Whether to read all letters as small ones.
        max_length: Tokens of a text that are read, from its beginning.
        max_vocab_size: The largest vocabulary, the two tokens for padding and the unknown among it.
        min_count: How often the training texts must have a token; a rarer one is read as the unknown token.
        token_dropout: Share of the tokens of a training batch that are read as the unknown one, so that no text is
            learnt by heart (Iyyer et al. 2015).
        train_copies: Whether a text that stands in the training split several times, in one class, is trained on each
            time. Where that would have it learnt by heart, `false` takes it once (Lee et al. 2022); with the model's
            `class_prior: data` the classes still are as likely as they are with all copies.
        group_by_length: Whether a training batch holds texts of like length, which leaves little padding to compute;
            `false` mixes them, which trains better where the length tells the class.
        text_column: Column of the texts, in a file with columns.
        predict_path: New texts for `predict`: a `.csv`, `.tsv` or `.jsonl` file with the column of the texts, with or
            without one of classes, or a folder of `.txt` files, at any depth, or a single one. The texts of
            the training are not read then; tokens that they did not have are read as the unknown one.
        **loading: Arguments of `ArrayDataModule`.
    """

    input_shape = (None,)

    def __init__(
        self,
        tokens: Tokens = "words",
        lowercase: bool = False,
        max_length: int = 256,
        max_vocab_size: int = 10_000,
        min_count: int = 2,
        token_dropout: float = 0.0,
        train_copies: bool = True,
        group_by_length: bool = True,
        text_column: str = "text",
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        if not 0 <= token_dropout < 1:
            raise InputError(f"token_dropout: expected a share in [0, 1), got {token_dropout}")
        if max_length < 1:
            raise InputError(f"max_length: expected at least 1 token, got {max_length}")
        self.tokens, self.lowercase, self.max_length = tokens, lowercase, max_length
        self.max_vocab_size, self.min_count = max_vocab_size, min_count
        self.token_dropout, self.text_column = token_dropout, text_column
        self.train_copies, self.group_by_length = train_copies, group_by_length
        self.predict_path = None if predict_path is None else Path(predict_path)
        self.vocabulary: Vocabulary | None = None
        self.known_classes: list[str] = []

    @abstractmethod
    def read(self) -> tuple[list[Sample], Mapping[str, Tensor]]:
        """Return all samples, and the indices of those of train, val and test; see `assign_splits`."""

    def read_new(self, file: Path) -> list[Sample]:
        """The samples of a new `.txt` file: all of it is one text."""
        return [Sample(read_utf8(file), "", str(file))]

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the padding (0) and the unknown one (1) among them."""
        self.ensure_setup()
        assert self.vocabulary is not None
        return len(self.vocabulary)

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """Number of classes."""
        return len(self.class_names)

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in the order of their numbers."""
        self.ensure_setup()
        return self.known_classes

    @property
    def class_shares(self) -> list[float]:
        """How often each class is met, as a share of the training split with all of its copies."""
        self.ensure_setup()
        counts = self._train_targets.long().bincount(minlength=self.num_classes)
        return (counts / counts.sum()).tolist()

    def load(self) -> dict[str, RaggedDataset]:
        samples, splits = self.read()
        texts = self._normalize(samples)
        train = splits["train"].tolist()
        self.known_classes = self.known_classes or sorted({samples[i].label for i in train})
        targets = self._numbers(samples)
        if self.vocabulary is None:
            learnt_from = [texts[i] for i in train]
            self.vocabulary = Vocabulary.learn(self.tokens, learnt_from, self.max_vocab_size, self.min_count)
        values, lengths = self._encode(texts)
        self._train_targets = targets[splits["train"]]
        if not self.train_copies:
            first: dict[tuple[str, str], int] = {}
            for i in train:
                first.setdefault((texts[i], samples[i].label), i)
            train = list(first.values())
        splits = {**splits, "train": torch.tensor(train)}
        return {name: RaggedDataset(values, lengths, targets, indices) for name, indices in splits.items()}

    def load_predict(self, path: Path) -> RaggedDataset:
        if self.vocabulary is None:  # no checkpoint
            self.ensure_setup()
        if path.is_file() and path.suffix.lower() in TABLES:
            samples = read_samples(path, self.text_column)
        else:
            files = new_files(path, (".txt",), "text")
            found = [(file, sample) for file in files for sample in self.read_new(file)]
            samples = [sample for _, sample in found]
            self.sample_names = names_in(path, [file for file, _ in found])
        values, lengths = self._encode(self._normalize(samples))
        return RaggedDataset(values, lengths, torch.zeros(len(samples), dtype=torch.uint8))

    def state_dict(self) -> dict[str, Any]:
        """Vocabulary and classes, so that a checkpoint's network reads texts as it did in training."""
        assert self.vocabulary is not None
        return {"vocabulary": self.vocabulary.state(), "class_names": self.known_classes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        loaded, self.splits = bool(self.splits), {}
        self.vocabulary = Vocabulary(**state_dict["vocabulary"])
        self.known_classes = list(state_dict["class_names"])
        if loaded:  # Lightning brings the state after `setup`
            self.setup()

    def on_after_batch_transfer(
        self, batch: tuple[tuple[Tensor, Tensor], Tensor], dataloader_idx: int
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        (tokens, lengths), targets = batch
        if self.token_dropout and self.trainer is not None and self.trainer.training:
            dropped = torch.rand(tokens.shape, device=tokens.device) < self.token_dropout
            tokens = tokens.masked_fill(dropped & (tokens != PADDING), UNKNOWN)
        return (tokens.long(), lengths), targets.long()

    def _normalize(self, samples: Sequence[Sample]) -> list[str]:
        """The texts as they are cut into tokens; none may be empty."""
        texts = [normalize(sample.text, self.lowercase) for sample in samples]
        for text, sample in zip(texts, samples, strict=True):
            if not text:
                raise InputError(f"{sample.where}: the text is empty; write one or delete the sample")
        return texts

    def _encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The tokens of all texts, one behind the other, and the number of each one's tokens."""
        assert self.vocabulary is not None
        encoded = list(self.vocabulary.encode(texts, self.max_length))
        lengths = torch.tensor([len(numbers) for numbers in encoded])
        return torch.tensor(list(chain.from_iterable(encoded)), dtype=smallest_type(len(self.vocabulary))), lengths

    def _numbers(self, samples: Sequence[Sample]) -> Tensor:
        """The number of each sample's class."""
        number = {name: i for i, name in enumerate(self.known_classes)}
        for sample in samples:
            if sample.label not in number:
                raise InputError(
                    f"{sample.where}: no training text has the class '{sample.label}'"
                    f"{did_you_mean(sample.label, number)} (they have: {_shortened(self.known_classes)}); "
                    "add some, or delete it"
                )
        return torch.tensor([number[sample.label] for sample in samples], dtype=smallest_type(len(number)))


def duplicate_groups(samples: Sequence[Sample]) -> Tensor:
    """A number for each sample `(samples,)`, the same for copies of a text (see `same_text_key`), so that a split can
    keep them together."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(same_text_key(sample.text), len(numbers)) for sample in samples])


def label_numbers(samples: Sequence[Sample]) -> Tensor:
    """A number for each sample's class `(samples,)`, for stratified splits.

    Raises:
        InputError: One class only, or a class of one sample, which cannot be both learnt and tested.
    """
    classes: dict[str, list[Sample]] = {}
    for sample in samples:
        classes.setdefault(sample.label, []).append(sample)
    if len(classes) == 1:
        raise InputError(f"{samples[0].where}: every text has the class '{samples[0].label}'; expected two or more")
    for name, members in classes.items():
        if len(members) == 1:
            raise InputError(
                f"{members[0].where}: the only text of the class '{name}', which cannot be both learnt and tested; "
                "add some, or delete it"
            )
    names = {name: i for i, name in enumerate(sorted(classes))}
    return torch.tensor([names[sample.label] for sample in samples])


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
