import builtins
import unicodedata
from typing import Any

import pytest

from litnets.data.text.vocabulary import Vocabulary, normalize, same_text_key
from litnets.errors import InputError

TEXTS = ["the cat, the hat", "the low lower lowest", "a cat", "low hat"]


def build(kind: Any, max_size: int = 100, min_count: int = 1) -> Vocabulary:
    return Vocabulary.build(kind, TEXTS, max_size, min_count)


def encode(vocabulary: Vocabulary, *texts: str, max_length: int = 99) -> list[list[int]]:
    return list(vocabulary.encode(texts, max_length))


def decode(vocabulary: Vocabulary, text: str) -> list[str]:
    return [vocabulary.tokens[i] for i in encode(vocabulary, text)[0]]


def test_words_are_sorted_by_count_then_code_point() -> None:
    vocabulary = build("words")
    expected = ["[PAD]", "[UNK]", "the", "cat", "hat", "low", ",", "a", "lower", "lowest"]
    assert vocabulary.tokens == expected
    assert encode(vocabulary, "the lower, cat", "dog") == [[2, 8, 6, 3], [1]]


@pytest.mark.parametrize(
    "text", ["हिन्दी भाषा", "শিক্ষা", "ภาษาไทย ดี", "\u0645\u06cc\u200c\u062e\u0648", "q\u0307x", "a_1 é"]
)
def test_words_keep_their_combining_marks(text: str) -> None:
    assert Vocabulary.build("words", [text], 100, 1).tokens[2:] == sorted(text.split())


def test_tokens_may_be_characters() -> None:
    vocabulary = build("characters")
    assert sorted(vocabulary.tokens[2:]) == sorted(set("".join(TEXTS)))
    assert decode(vocabulary, "hat, xo") == ["h", "a", "t", ",", " ", "[UNK]", "o"]


def test_subwords_merge_frequent_pairs() -> None:
    pytest.importorskip("tokenizers")
    vocabulary = build("subwords", max_size=24, min_count=2)
    assert len(vocabulary) <= 24
    assert decode(vocabulary, "the low") == ["▁the", "▁low"]
    assert decode(vocabulary, "lows")[0] == "▁low"
    assert "[UNK]" in decode(vocabulary, "ñ")
    for text in TEXTS:
        assert "".join(decode(vocabulary, text)).replace("▁", " ").strip() == text


@pytest.mark.parametrize("kind", ["characters", "words", "subwords"])
def test_state_restores_the_vocabulary(kind: Any) -> None:
    if kind == "subwords":
        pytest.importorskip("tokenizers")
    vocabulary = build(kind)
    restored = Vocabulary(**vocabulary.state())
    texts = [*TEXTS, "something quite new", "[PAD] [UNK]"]
    assert encode(restored, *texts) == encode(vocabulary, *texts)
    assert restored.state() == vocabulary.state() == build(kind).state()


@pytest.mark.parametrize("kind", ["characters", "words", "subwords"])
def test_half_a_surrogate_pair_becomes_the_replacement_character(kind: Any) -> None:
    if kind == "subwords":
        pytest.importorskip("tokenizers")
    text = normalize("the \ud83d cat \ude00")
    assert text == "the \ufffd cat \ufffd"
    vocabulary = Vocabulary.build(kind, [text], 100, 1)
    assert 1 not in encode(vocabulary, text)[0]


@pytest.mark.parametrize("kind", ["characters", "words", "subwords"])
def test_encoded_texts_hold_no_padding_and_at_least_one_token(kind: Any) -> None:
    if kind == "subwords":
        pytest.importorskip("tokenizers")
    encoded = encode(build(kind), "[PAD]", "[UNK][PAD]", "\u200b", "ñ", "the")
    assert all(indices and 0 not in indices for indices in encoded)


def test_rare_and_excess_tokens_become_unknown() -> None:
    assert build("words", min_count=2).tokens[2:] == ["the", "cat", "hat", "low"]
    assert build("words", max_size=4).tokens[2:] == ["the", "cat"]
    assert decode(build("words", max_size=4), "the low cat") == ["the", "[UNK]", "cat"]
    with pytest.raises(InputError, match=r"max_vocab_size: .* got 2"):
        build("words", max_size=2)


def test_long_texts_are_truncated() -> None:
    vocabulary = build("words")
    assert encode(vocabulary, "the cat a hat", max_length=2) == encode(vocabulary, "the cat")


def test_subwords_without_tokenizers_name_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def import_without_tokenizers(name: str, *args: Any) -> Any:
        if name.startswith("tokenizers"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", import_without_tokenizers)
    with pytest.raises(InputError, match=r'pip install -e ".\[text\]"'):
        build("subwords")
    assert build("words").tokens


@pytest.mark.parametrize("marks", ["\u0300\u0316", "\u0f73"])  # the second becomes two marks when decomposed
def test_normalize_cuts_off_endless_combining_marks(marks: str) -> None:
    # Sorting a million of them would take more than half an hour.
    text = normalize(f"a{marks * 500_000}b")
    assert text.endswith("b")
    assert len(text) <= 62
    assert len(same_text_key(text)) == 2
    assert normalize(f"a{marks * 15}") == unicodedata.normalize("NFC", f"a{marks * 15}")


def test_normalize_composes_characters_and_joins_white_space() -> None:
    assert normalize(unicodedata.normalize("NFD", " Café\t au\r\n\xa0Lait ")) == "Café au Lait"
    assert normalize("Café", lowercase=True) == "café"
    assert normalize(" \n\u3000") == ""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Weiß ", "Weiss", True),
        ("Krüger", unicodedata.normalize("NFD", "KRÜGER"), True),
        ("O'Neal", "Oneal", True),
        ("Lim ", "Lim", True),
        ("Kim", "Lim", False),
        ("की", "का", False),
        ("!!", "??", False),
        ("1 2", "13", False),
    ],
)
def test_same_text_key_ignores_case_accents_and_punctuation(one: str, other: str, same: bool) -> None:
    assert (same_text_key(one) == same_text_key(other)) == same
