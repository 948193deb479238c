"""The base class of text DataModules: tokenization, the vocabulary, and batches of texts of similar length."""

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from litnets.data.core.base import ArrayDataModule
from litnets.data.core.batching import RaggedDataset, smallest_type
from litnets.data.core.csv_files import missing_column, read_utf8
from litnets.data.core.data_card import SliceValues, describe_numbers
from litnets.data.core.inputs import as_items, describe, is_table, table_columns
from litnets.data.core.labels import match_labels
from litnets.data.core.listing import names_in, new_files
from litnets.data.core.new_chunks import NewChunk
from litnets.data.core.raw_inputs import to_text
from litnets.data.core.sample_columns import Columns
from litnets.data.text.reading import TABLES, Sample, read_samples
from litnets.data.text.vocabulary import PADDING, UNKNOWN, Tokens, Vocabulary, normalize, same_text_key
from litnets.errors import InputError, RenamedOptionWarning, abbreviate, did_you_mean


class WidenTokens(nn.Module):
    """Convert tokens `(N, T)`, kept in a small integer type, to the int64 indices that an embedding takes."""

    def forward(self, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        tokens, lengths = inputs
        return tokens.long(), lengths


class TextDataModule(ArrayDataModule):
    """Texts in memory as tokens, for classification.

    The tokens of all texts are concatenated in one tensor of the smallest integer type that holds the vocabulary. A
    batch is `((tokens, lengths), targets)`, with shapes `(N, T)`, `(N,)` and `(N,)`. Vocabulary and classes come from
    the training split and are saved in checkpoints. A subclass implements `read`.

    Args:
        tokens: Unit of tokenization: `characters`, `words`, or `subwords` (byte pair encoding; needs the extra `text`).
        lowercase: Whether to convert texts to lower case.
        max_length: Maximum number of tokens per text. Longer texts are truncated.
        max_vocab_size: Maximum size of the vocabulary, including the padding token and the unknown token.
        min_count: Minimum number of occurrences of a token in the training texts. Rarer tokens become the unknown
            token.
        token_dropout: Fraction of the tokens in a training batch that are replaced by the unknown token, to reduce
            overfitting (Iyyer et al. 2015).
        deduplicate_train: Whether to train on each distinct text of a class only once. This avoids memorizing frequent
            duplicates (Lee et al. 2022). The model's `class_prior: data` then restores the class frequencies of the
            data with all duplicates.
        group_by_length: Whether training batches hold texts of similar length, which reduces padding. `false` mixes all
            lengths, which trains better if the length correlates with the class.
        text_column: Column of the texts in CSV, TSV and JSONL files.
        header: Whether the first line of a CSV or TSV file names the columns; if not, they are `column_1`,
            `column_2` ...
        predict_path: New texts for `predict`: a `.csv`, `.tsv` or `.jsonl` file with the text column (a class column is
            ignored), a `.txt` file, or a folder of `.txt` files at any depth. The training data are not needed. Tokens
            outside the vocabulary become the unknown token. Default: the test split.
        train_copies: Deprecated inverse of `deduplicate_train`.
        **loading: Arguments of `ArrayDataModule`.
    """

    input_shape = (None,)
    input_kind = "text"

    def __init__(
        self,
        tokens: Tokens = "words",
        lowercase: bool = False,
        max_length: int = 256,
        max_vocab_size: int = 10_000,
        min_count: int = 2,
        token_dropout: float = 0.0,
        deduplicate_train: bool = False,
        group_by_length: bool = True,
        text_column: str = "text",
        header: bool = True,
        predict_path: str | None = None,
        train_copies: bool | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        if not 0 <= token_dropout < 1:
            raise InputError(f"token_dropout: expected a fraction in [0, 1), got {token_dropout}")
        if max_length < 1:
            raise InputError(f"max_length: expected at least 1 token, got {max_length}")
        self.tokens = tokens
        self.lowercase = lowercase
        self.max_length = max_length
        self.max_vocab_size = max_vocab_size
        self.min_count = min_count
        self.token_dropout = token_dropout
        self.deduplicate_train = deduplicate_train
        if train_copies is False:  # true was its default
            self.deduplicate_train = _former_train_copies()
        self.group_by_length = group_by_length
        self.text_column = text_column
        self.header = header
        self.predict_path = None if predict_path is None else Path(predict_path)
        self.vocabulary: Vocabulary | None = None
        self._class_names: list[str] = []
        self._samples: tuple[list[Sample], Mapping[str, Tensor]] | None = None  # if read before `load`
        self._texts: list[str] = []  # all texts as they were read

    @abstractmethod
    def read(self) -> tuple[list[Sample], Mapping[str, Tensor]]:
        """Return all samples, and the indices of those in train, val and test; see `assign_splits`."""

    def read_new(self, file: Path) -> list[Sample]:
        """Return the samples of a `.txt` file to predict: by default, one sample with all of its content."""
        return [Sample(read_utf8(file), "", str(file))]

    @property
    def vocab_size(self) -> int:
        """Number of tokens, including padding (0) and the unknown token (1)."""
        self.ensure_setup()
        assert self.vocabulary is not None
        return len(self.vocabulary)

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """Number of classes."""
        return len(self.class_names)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of their indices."""
        self.ensure_setup()
        return self._class_names

    @property
    def class_shares(self) -> list[float]:
        """Fraction of each class in the training split, duplicates included."""
        self.ensure_setup()
        counts = self._train_targets.long().bincount(minlength=self.num_classes)
        return (counts / counts.sum()).tolist()

    def training_texts(self) -> list[str]:
        """Return the texts of the training split as they were read. `load` does not read them again."""
        self._samples = self._samples or self.read()
        samples, splits = self._samples
        return [samples[i].text for i in splits["train"].tolist()]

    def load(self) -> dict[str, RaggedDataset]:
        samples, splits = self._samples or self.read()
        self._samples = None
        self._texts = [sample.text for sample in samples]
        texts = self._normalize(samples)
        train = splits["train"].tolist()
        self._class_names = self._class_names or sorted({samples[i].label for i in train})
        targets = self._encode_labels(samples)
        if self.vocabulary is None:
            train_texts = [texts[i] for i in train]
            self.vocabulary = Vocabulary.build(self.tokens, train_texts, self.max_vocab_size, self.min_count)
        values, lengths = self._encode_texts(texts)
        self._train_targets = targets[splits["train"]]
        if self.deduplicate_train:
            first_index: dict[tuple[str, str], int] = {}
            for i in train:
                first_index.setdefault((texts[i], samples[i].label), i)
            train = list(first_index.values())
        splits = {**splits, "train": torch.tensor(train)}
        return {name: RaggedDataset(values, lengths, targets, indices) for name, indices in splits.items()}

    def raw_texts(self, part: str, positions: Tensor | None = None) -> list[str]:
        """Return texts of a split as they were read.

        Args:
            part: train, val or test.
            positions: Positions in the split; None for all.
        """
        indices = self.splits[part].indices
        return [self._texts[i] for i in (indices if positions is None else indices[positions]).tolist()]

    def raw_input(self, part: str, position: int) -> dict[str, bytes]:
        return {"text": to_text(*self.raw_texts(part, torch.tensor([position])))}

    def describe_inputs(self, part: str) -> dict[str, Any]:
        characters = [len(text) for text in self.raw_texts(part)]
        return {"characters": describe_numbers(characters), "tokens": super().describe_inputs(part)["steps"]}

    def baseline_inputs(self, part: str) -> list[str]:
        return self.raw_texts(part)

    def slice_values(self, part: str, positions: Tensor) -> SliceValues:
        """Return the number of characters of each text."""
        return {"length": [len(text) for text in self.raw_texts(part, positions)]}

    def load_predict(self, path: Path) -> RaggedDataset:
        samples, files = self._read_samples_of(path)
        self.sample_names = None if files is None else names_in(path, files)
        return self._encode_new(samples)

    def iter_new(self, path: Path, batch_size: int) -> Iterator[NewChunk]:
        """Yield the texts of a CSV, TSV or JSONL file, of a `.txt` file, or of a folder of `.txt` files."""
        if not path.exists():
            raise InputError(f"{path}: no such file; to predict texts, pass - and write one per line to standard input")
        samples, files = self._read_samples_of(path)
        columns = self.new_columns(path) if files is None else {"file": list(map(str, files))}
        rows = [(row, sample) for row, sample in enumerate(samples)]
        yield from self._chunks(rows, batch_size, columns)

    def iter_lines(self, lines: Iterable[str], batch_size: int) -> Iterator[NewChunk]:
        samples = (Sample(line.rstrip("\r\n"), "", f"standard input, line {n}") for n, line in enumerate(lines, 1))
        rows = enumerate(samples)
        while chunk := list(islice(rows, batch_size)):
            yield from self._chunks(chunk, batch_size, {})

    def _chunks(self, rows: list[tuple[int, Sample]], size: int, columns: Columns) -> Iterator[NewChunk]:
        def read(chosen: list[tuple[int, Sample]]) -> tuple[RaggedDataset, Columns]:
            indices = [index for index, _ in chosen]
            identified: dict[str, Any] = {name: [cells[i] for i in indices] for name, cells in columns.items()}
            if "file" not in columns:
                identified = {"row": [str(index + 1) for index in indices], **identified}
            return self._encode_new([sample for _, sample in chosen]), identified

        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            yield NewChunk(chunk, [sample.where for _, sample in chunk], read)

    def new_columns(self, path: Path) -> Columns:
        """Return the columns to copy from a file of new texts into its predictions."""
        return {}

    def _read_samples_of(self, path: Path) -> tuple[list[Sample], list[Path] | None]:
        """Return the samples at a path, and the file of each one if it is not a table."""
        if path.is_file() and path.suffix.lower() in TABLES:
            return read_samples(path, self.text_column, has_header=self.header), None
        samples, files = [], []
        for file in new_files(path, (".txt",), "text"):
            new_samples = self.read_new(file)
            samples += new_samples
            files += [file] * len(new_samples)
        return samples, files

    def _encode_new(self, samples: Sequence[Sample]) -> RaggedDataset:
        if self.vocabulary is None:  # no checkpoint was loaded
            self.ensure_setup()
        values, lengths = self._encode_texts(self._normalize(samples))
        return RaggedDataset(values, lengths, torch.zeros(len(samples), dtype=torch.uint8))

    def read_inputs(self, inputs: Any) -> RaggedDataset:
        """Return new texts from strings, a DataFrame with the text column, or files as `pathlib.Path`.

        A string is a text, never a file name.
        """
        if is_table(inputs):
            columns = table_columns(inputs)
            if self.text_column not in columns:
                raise InputError(missing_column("the table", self.text_column, columns))
            inputs = columns[self.text_column]
        elif hasattr(inputs, "tolist") or hasattr(inputs, "to_list"):  # an array, or a column of a DataFrame
            inputs = inputs.tolist() if hasattr(inputs, "tolist") else inputs.to_list()
        samples: list[Sample] = []
        for index, item in enumerate(as_items(inputs)):
            if isinstance(item, Path):
                samples += self._read_samples_of(item)[0]
            elif isinstance(item, str):
                samples.append(Sample(item, "", f"text {index}"))
            else:
                raise InputError(f"text {index}: expected a string, or a file as pathlib.Path, got {describe(item)}")
        return self._encode_new(samples)

    def describe_reading(self) -> dict[str, Any]:
        """Return the vocabulary, and what is done to a text before it is split into tokens; see `normalize`."""
        assert self.vocabulary is not None
        options = {"lowercase": self.lowercase, "max_length": self.max_length}
        return {"kind": "text", **options, **self.vocabulary.describe()}

    def preparation(self) -> WidenTokens:
        return WidenTokens()

    def decode_tokens(self, tokens: Tensor) -> list[str]:
        assert self.vocabulary is not None
        return [self.vocabulary.tokens[index] for index in tokens.tolist()]

    def load_labeled(self, path: Path) -> RaggedDataset:
        samples = self.read_labeled(path)
        if not self._class_names:  # no checkpoint was loaded
            self.ensure_setup()
        targets = self._encode_labels(samples)
        values, lengths = self._encode_texts(self._normalize(samples))
        return RaggedDataset(values, lengths, targets)

    def read_labeled(self, path: Path) -> list[Sample]:
        """Return the samples at `path` with their classes, for `test --on`."""
        raise InputError(f"{type(self).__name__} cannot read texts with their classes")

    def state_dict(self) -> dict[str, Any]:
        """Return the vocabulary and the class names, so that a checkpoint encodes texts as in training."""
        assert self.vocabulary is not None
        return {"vocabulary": self.vocabulary.state(), "class_names": self._class_names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        is_set_up, self.splits = bool(self.splits), {}
        self.vocabulary = Vocabulary(**state_dict["vocabulary"])
        self._class_names = list(state_dict["class_names"])
        if is_set_up:  # Lightning restores the state after `setup`: encode the texts again
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
        """Return the normalized texts. Raise InputError for an empty one."""
        texts = [normalize(sample.text, self.lowercase) for sample in samples]
        for text, sample in zip(texts, samples, strict=True):
            if not text:
                raise InputError(f"{sample.where}: the text is empty; fill it or delete the sample")
        return texts

    def _encode_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the concatenated tokens of all texts, and the number of tokens of each text."""
        assert self.vocabulary is not None
        encoded = list(self.vocabulary.encode(texts, self.max_length))
        lengths = torch.tensor([len(indices) for indices in encoded])
        return torch.tensor(list(chain.from_iterable(encoded)), dtype=smallest_type(len(self.vocabulary))), lengths

    def _encode_labels(self, samples: Sequence[Sample]) -> Tensor:
        """Return the class index of each sample. Raise InputError for a class without training samples."""
        indices = match_labels((sample.label for sample in samples), self._class_names, one_dataset=True)
        unknown = {sample.label: sample for sample in reversed(samples) if sample.label not in indices}
        if unknown:
            names = sorted(unknown)
            raise InputError(
                f"{unknown[names[0]].where}: no training text has the class '{names[0]}'"
                f"{did_you_mean(names[0], self._class_names)} (training classes: {abbreviate(self._class_names)}"
                f"{f'; others without training texts: {abbreviate(names[1:])}' if names[1:] else ''}); add training "
                "texts of this class, or delete the sample"
            )
        return torch.tensor([indices[sample.label] for sample in samples], dtype=smallest_type(len(self._class_names)))


def _former_train_copies() -> bool:
    text = "the option train_copies is now called deduplicate_train; replace it by deduplicate_train: true"
    warnings.warn(text, RenamedOptionWarning, 3)
    return True


def duplicate_groups(samples: Sequence[Sample]) -> Tensor:
    """Return a group index for each sample, `(samples,)`; duplicates of a text share one.

    Splits keep the samples of a group together. See `same_text_key` for what counts as a duplicate.
    """
    groups: dict[str, int] = {}
    return torch.tensor([groups.setdefault(same_text_key(sample.text), len(groups)) for sample in samples])


def label_indices(samples: Sequence[Sample]) -> Tensor:
    """Return the class index of each sample, `(samples,)`, for a stratified split.

    Raises:
        InputError: All samples have the same class, or a class has only one sample.
    """
    classes: dict[str, list[Sample]] = {}
    for sample in samples:
        classes.setdefault(sample.label, []).append(sample)
    if len(classes) == 1:
        raise InputError(f"{samples[0].where}: every text has the class '{samples[0].label}'; expected two or more")
    for name, members in classes.items():
        if len(members) == 1:
            raise InputError(
                f"{members[0].where}: the only text of the class '{name}'; expected at least two, one to train on and "
                "one to test on; add some, or delete it"
            )
    indices = {name: i for i, name in enumerate(sorted(classes))}
    return torch.tensor([indices[sample.label] for sample in samples])
