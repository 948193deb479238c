"""Texts as whole numbers: characters, words or sub-words, learnt from the texts of a training split."""

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
_RESERVED = ("[PAD]", "[UNK]")  # in the table for people to read; no text is ever cut into them


class Vocabulary:
    """The tokens of a text by number: 0 is the padding, 1 any token that is not known.

    Args:
        kind: `characters`, `words` (runs of letters and digits with their marks, and each other sign by itself), or
            `subwords`.
        tokens: The tokens in their order, the two reserved ones first.
        merges: For sub-words: the pairs of tokens that become one, in the order in which they do.
    """

    def __init__(self, kind: Tokens, tokens: Sequence[str], merges: Sequence[Sequence[str]] = ()) -> None:
        self.kind, self.tokens = kind, list(tokens)
        self.merges = [(left, right) for left, right in merges]
        self._number = {token: number for number, token in enumerate(self.tokens)}

    @classmethod
    def learn(cls, kind: Tokens, texts: Sequence[str], max_size: int, min_count: int) -> "Vocabulary":
        """The vocabulary of these texts: at most `max_size` tokens, the most frequent ones, none seen less often than
        `min_count` times. What is left out is read as the unknown token, which is learnt thereby.

        Raises:
            InputError: A size too small to hold anything, or sub-words without the library that finds them.
        """
        if max_size <= len(_RESERVED):
            raise InputError(f"max_vocab_size: expected more than the {len(_RESERVED)} reserved tokens, got {max_size}")
        if kind == "subwords":
            return cls(kind, *_learn_subwords(texts, max_size, min_count))
        counts = Counter(token for text in texts for token in _cut(kind, text))
        # By falling count, then by code point, so that ties do not depend on the order of the texts.
        frequent = sorted((-count, token) for token, count in counts.items() if count >= min_count)
        if not frequent:
            most = max(counts.values(), default=0)
            raise InputError(f"min_count: no token is in the training texts {min_count} times; the most is {most}")
        return cls(kind, [*_RESERVED, *(token for _, token in frequent[: max_size - len(_RESERVED)])])

    def encode(self, texts: Sequence[str], max_length: int) -> Iterator[list[int]]:
        """The numbers of each text's tokens, at most the first `max_length` and at least one."""
        if self.kind == "subwords":
            found = (encoding.ids for encoding in self._subwords().encode_batch(texts))
        else:
            found = ([self._number.get(token, UNKNOWN) for token in _cut(self.kind, text)] for text in texts)
        for numbers in found:
            yield numbers[:max_length] or [UNKNOWN]

    def __len__(self) -> int:
        return len(self.tokens)

    def state(self) -> dict[str, Any]:
        """All of it as plain data: `Vocabulary(**state)` is the same."""
        return {"kind": self.kind, "tokens": self.tokens, "merges": [list(pair) for pair in self.merges]}

    def _subwords(self) -> Any:
        lib = _tokenizers()
        # Made without special tokens, so that a text with "[PAD]" in it is cut like any other.
        numbers = {token: number for number, token in enumerate(self.tokens)}
        tokenizer = lib.Tokenizer(lib.models.BPE(numbers, self.merges, unk_token=_RESERVED[UNKNOWN]))
        tokenizer.pre_tokenizer = lib.pre_tokenizers.Metaspace()
        return tokenizer


def normalize(text: str, lowercase: bool = False) -> str:
    """One way to write a text: composed characters (Unicode NFC: an e and an accent are one character, however they
    were typed, as a reader sees them), any white space one space, U+FFFD for half a character of UTF-16, which JSON may
    hold and nothing else. The case is kept unless asked otherwise: it tells a name from a word, and nothing is gained
    by hiding it from a network that reads characters."""
    text = re.sub(r"[\ud800-\udfff]", "\ufffd", " ".join(unicodedata.normalize("NFC", text).split()))
    return text.lower() if lowercase else text


def same_text_key(text: str) -> str:
    """What stays equal in copies of a text: its letters and digits, without case, accents, punctuation and spaces
    (`Weiß ` and `Weiss`, `Krüger` and `Kruger`). Vowel signs, as Devanagari has them, are no accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    kept = (c for c in decomposed if not unicodedata.combining(c) and unicodedata.category(c)[0] in "LNM")
    return "".join(kept) or text


def _cut(kind: Tokens, text: str) -> Sequence[str]:
    if kind != "words":
        return text
    # Most texts have no marks, and to look for them takes several times as long.
    return re.findall(r"\w+|[^\w\s]", text) if text.isascii() else _words().findall(text)


@cache
def _words() -> re.Pattern[str]:
    # Python's `\w` leaves out the marks that go with a letter, such as the vowel signs and viramas of Devanagari, and
    # would cut a word at each of them. They end below U+20000, but for selectors of rare Chinese forms.
    codes = [code for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M"]
    marks = re.escape("".join(map(chr, codes)))
    return re.compile(rf"\w+(?:[{marks}\u200c\u200d]+\w*)*|[^\w\s]")


def _learn_subwords(texts: Sequence[str], max_size: int, min_count: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Byte pair encoding (Sennrich et al. 2016): starting from characters, the most frequent pair becomes one token,
    again and again. A space is part of the word behind it, written as an underline."""
    import json

    lib = _tokenizers()
    tokenizer = lib.Tokenizer(lib.models.BPE(unk_token=_RESERVED[UNKNOWN]))
    tokenizer.pre_tokenizer = lib.pre_tokenizers.Metaspace()
    trainer = lib.trainers.BpeTrainer(
        vocab_size=max_size, min_frequency=min_count, special_tokens=list(_RESERVED), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    return sorted(vocab, key=lambda token: vocab[token]), [(left, right) for left, right in model["merges"]]


def _tokenizers() -> Any:
    # The library warns at each fork that its threads are lost; the processes that cut batches do not use them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        import tokenizers
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise InputError('tokens: subwords need the library tokenizers: pip install -e ".[text]"') from error
    return tokenizers
