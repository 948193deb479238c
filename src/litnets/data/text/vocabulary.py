"""Tokenization: characters, words or subwords, with a vocabulary built from the training texts."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Literal

from litnets.errors import InputError

Tokens = Literal["characters", "words", "subwords"]

PADDING, UNKNOWN = 0, 1
# Combining marks in a row: more than any writing system has, and the limit of the Stream-Safe Text Format (UAX #15).
_MAX_MARKS = 30
_RESERVED = ("[PAD]", "[UNK]")  # names for display; text such as "[PAD]" is tokenized like any other


class Vocabulary:
    """The mapping between tokens and indices. Index 0 is padding, 1 is the unknown token.

        vocabulary = Vocabulary.build("words", ["a cat", "a hat"], max_size=100, min_count=1)
        list(vocabulary.encode(["a dog"], max_length=10))  # [[2, 1]]

    Args:
        kind: `characters`, `words` (runs of letters, digits and their combining marks; every other symbol is a
            word), or `subwords`.
        tokens: The tokens in the order of their indices, starting with the two reserved ones.
        merges: For subwords: the pairs of tokens to merge, in this order.
    """

    def __init__(self, kind: Tokens, tokens: Sequence[str], merges: Sequence[Sequence[str]] = ()) -> None:
        self.kind, self.tokens = kind, list(tokens)
        self.merges = [(left, right) for left, right in merges]
        self._index = {token: index for index, token in enumerate(self.tokens)}

    @classmethod
    def build(cls, kind: Tokens, texts: Sequence[str], max_size: int, min_count: int) -> "Vocabulary":
        """Return the vocabulary of the most frequent tokens in some texts.

        Rarer tokens become the unknown token, which is thereby trained as well.

        Args:
            kind: Unit of tokenization; see `Vocabulary`.
            texts: Normalized training texts.
            max_size: Maximum number of tokens, including the two reserved ones.
            min_count: Minimum number of occurrences of a token.

        Raises:
            InputError: `max_size` leaves no room for tokens, no token is frequent enough, or the library for subwords
                is not installed.
        """
        if max_size <= len(_RESERVED):
            raise InputError(f"max_vocab_size: expected more than the {len(_RESERVED)} reserved tokens, got {max_size}")
        if kind == "subwords":
            return cls(kind, *_train_bpe(texts, max_size, min_count))
        counts = Counter(token for text in texts for token in _tokenize(kind, text))
        # By descending count, then by code point, so that ties do not depend on the order of the texts.
        frequent = sorted((-count, token) for token, count in counts.items() if count >= min_count)
        if not frequent:
            most = max(counts.values(), default=0)
            raise InputError(
                f"min_count: no token occurs {min_count} times in the training texts; the most frequent occurs {most} "
                "times; choose a smaller one"
            )
        return cls(kind, [*_RESERVED, *(token for _, token in frequent[: max_size - len(_RESERVED)])])

    def encode(self, texts: Sequence[str], max_length: int) -> Iterator[list[int]]:
        """Yield the token indices of each text: the first `max_length` ones, and at least one."""
        if self.kind == "subwords":
            encoded = (encoding.ids for encoding in self._bpe_tokenizer().encode_batch(texts))
        else:
            encoded = ([self._index.get(token, UNKNOWN) for token in _tokenize(self.kind, text)] for text in texts)
        for indices in encoded:
            yield indices[:max_length] or [UNKNOWN]

    def __len__(self) -> int:
        return len(self.tokens)

    def state(self) -> dict[str, Any]:
        """Return the vocabulary as plain data; `Vocabulary(**state)` restores it."""
        return {"kind": self.kind, "tokens": self.tokens, "merges": [list(pair) for pair in self.merges]}

    def describe(self) -> dict[str, Any]:
        """Return the unit of tokenization, the tokens, the merges of subwords, and otherwise the pattern of a token."""
        patterns = {"characters": r"(?s:.)", "words": _word_pattern().pattern}
        unit = {"unit": self.kind, "pattern": patterns.get(self.kind)}
        return {**unit, "tokens": self.tokens, "merges": [list(pair) for pair in self.merges]}

    def _bpe_tokenizer(self) -> Any:
        lib = _import_tokenizers()
        # Without special tokens, so that "[PAD]" in a text is tokenized like any other text.
        tokenizer = lib.Tokenizer(lib.models.BPE(self._index, self.merges, unk_token=_RESERVED[UNKNOWN]))
        tokenizer.pre_tokenizer = lib.pre_tokenizers.Metaspace()
        return tokenizer


def normalize(text: str, lowercase: bool = False) -> str:
    """Return a text in canonical form.

    Characters are composed (Unicode NFC), so that an accented letter is one character however it was typed. Each run of
    white space becomes one space. Half a surrogate pair, which JSON can hold but UTF-8 cannot, becomes U+FFFD. More
    than 30 combining marks in a row are cut off.

    Args:
        text: The text.
        lowercase: Whether to convert it to lower case. Case distinguishes names from words, so keep it by default.
    """
    # Normalization sorts the marks of a character in quadratic time: minutes for a quarter of a megabyte of them.
    text = text if text.isascii() else _excess_marks_pattern().sub(lambda run: run[0][:_MAX_MARKS], text)
    text = re.sub(r"[\ud800-\udfff]", "\ufffd", " ".join(unicodedata.normalize("NFC", text).split()))
    return text.lower() if lowercase else text


def same_text_key(text: str) -> str:
    """Return a key that duplicates of a text share: its letters and digits without case, accents and spaces.

    `Weiß ` and `Weiss` share a key, as do `Krüger` and `Kruger`. Vowel signs, as in Devanagari, are kept.
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    key = (c for c in decomposed if not unicodedata.combining(c) and unicodedata.category(c)[0] in "LNM")
    return "".join(key) or text


def _tokenize(kind: Tokens, text: str) -> Sequence[str]:
    if kind != "words":
        return text
    # ASCII has no combining marks, and the pattern that handles them is several times slower.
    return re.findall(r"\w+|[^\w\s]", text) if text.isascii() else _word_pattern().findall(text)


@cache
def _word_pattern() -> re.Pattern[str]:
    # Python's `\w` does not match the combining marks of a letter, such as the vowel signs and viramas of Devanagari,
    # and would split a word at each of them. All marks lie below U+20000, except selectors of rare Chinese variants.
    codes = [code for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M"]
    marks = re.escape("".join(map(chr, codes)))
    return re.compile(rf"\w+(?:[{marks}\u200c\u200d]+\w*)*|[^\w\s]")


@cache
def _excess_marks_pattern() -> re.Pattern[str]:
    # Some characters become marks only when they are decomposed.
    first_parts = {c: unicodedata.normalize("NFKD", c)[0] for c in map(chr, range(0x300, 0x20000))}
    marks = "".join(c for c, first in first_parts.items() if unicodedata.combining(first))
    return re.compile(f"[{re.escape(marks)}]{{{_MAX_MARKS + 1},}}")


def _train_bpe(texts: Sequence[str], max_size: int, min_count: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Return tokens and merges of byte pair encoding (Sennrich et al. 2016).

    Starting from characters, the most frequent pair of tokens is merged repeatedly. A space belongs to the word after
    it and is written as an underscore-like character (U+2581).
    """
    import json

    lib = _import_tokenizers()
    tokenizer = lib.Tokenizer(lib.models.BPE(unk_token=_RESERVED[UNKNOWN]))
    tokenizer.pre_tokenizer = lib.pre_tokenizers.Metaspace()
    trainer = lib.trainers.BpeTrainer(
        vocab_size=max_size, min_frequency=min_count, special_tokens=list(_RESERVED), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    return sorted(vocab, key=lambda token: vocab[token]), [(left, right) for left, right in model["merges"]]


def _import_tokenizers() -> Any:
    # Otherwise the library warns at each fork, although DataLoader workers do not tokenize.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        import tokenizers
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise InputError('tokens: subwords need the package tokenizers; run: pip install -e ".[text]"') from error
    return tokenizers
