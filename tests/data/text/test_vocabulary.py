import builtins
import unicodedata
from typing import Any

import pytest

from litnets.data.text.vocabulary import Vocabulary, normalize, same_text_key
from litnets.errors import InputError

TEXTS = ["the cat, the hat", "the low lower lowest", "a cat", "low hat"]


def learn(kind: Any, max_size: int = 100, min_count: int = 1) -> Vocabulary:
    return Vocabulary.learn(kind, TEXTS, max_size, min_count)


def encode(vocabulary: Vocabulary, *texts: str, max_length: int = 99) -> list[list[int]]:
    return list(vocabulary.encode(texts, max_length))


def decoded(vocabulary: Vocabulary, text: str) -> list[str]:
    return [vocabulary.tokens[i] for i in encode(vocabulary, text)[0]]


def test_words_by_count_then_by_code_point() -> None:
    vocabulary = learn("words")
    expected = ["[PAD]", "[UNK]", "the", "cat", "hat", "low", ",", "a", "lower", "lowest"]
    assert vocabulary.tokens == expected
    assert encode(vocabulary, "the lower, cat", "dog") == [[2, 8, 6, 3], [1]]


@pytest.mark.parametrize(
    "text", ["हिन्दी भाषा", "শিক্ষা", "ภาษาไทย ดี", "\u0645\u06cc\u200c\u062e\u0648", "q\u0307x", "a_1 é"]
)
def test_a_word_keeps_its_marks(text: str) -> None:
    assert Vocabulary.learn("words", [text], 100, 1).tokens[2:] == sorted(text.split())


def test_characters_are_characters() -> None:
    vocabulary = learn("characters")
    assert sorted(vocabulary.tokens[2:]) == sorted(set("".join(TEXTS)))
    assert decoded(vocabulary, "hat, xo") == ["h", "a", "t", ",", " ", "[UNK]", "o"]


def test_subwords_are_the_frequent_pairs() -> None:
    pytest.importorskip("tokenizers")
    vocabulary = learn("subwords", max_size=24, min_count=2)
    assert len(vocabulary) <= 24
    assert decoded(vocabulary, "the low") == ["▁the", "▁low"]
    assert decoded(vocabulary, "lows")[0] == "▁low"
    assert "[UNK]" in decoded(vocabulary, "ñ")
    for text in TEXTS:
        assert "".join(decoded(vocabulary, text)).replace("▁", " ").strip() == text


@pytest.mark.parametrize("kind", ["characters", "words", "subwords"])
def test_its_state_is_all_of_it(kind: Any) -> None:
    if kind == "subwords":
        pytest.importorskip("tokenizers")
    vocabulary = learn(kind)
    again = Vocabulary(**vocabulary.state())
    texts = [*TEXTS, "something quite new", "[PAD] [UNK]"]
    assert encode(again, *texts) == encode(vocabulary, *texts)
    assert again.state() == vocabulary.state() == learn(kind).state()


@pytest.mark.parametrize("kind", ["characters", "words", "subwords"])
def test_half_a_character_is_a_character_like_another(kind: Any) -> None:
    if kind == "subwords":
        pytest.importorskip("tokenizers")
    text = normalize("the \ud83d cat \ude00")
    assert text == "the \ufffd cat \ufffd"
    vocabulary = Vocabulary.learn(kind, [text], 100, 1)
    assert 1 not in encode(vocabulary, text)[0]


@pytest.mark.parametrize("kind", ["characters", "words", "subwords"])
def test_no_text_has_padding_in_it_and_none_is_empty(kind: Any) -> None:
    if kind == "subwords":
        pytest.importorskip("tokenizers")
    found = encode(learn(kind), "[PAD]", "[UNK][PAD]", "\u200b", "ñ", "the")
    assert all(numbers and 0 not in numbers for numbers in found)


def test_what_is_rare_or_too_much_is_unknown() -> None:
    assert learn("words", min_count=2).tokens[2:] == ["the", "cat", "hat", "low"]
    assert learn("words", max_size=4).tokens[2:] == ["the", "cat"]
    assert decoded(learn("words", max_size=4), "the low cat") == ["the", "[UNK]", "cat"]
    with pytest.raises(InputError, match=r"max_vocab_size: .* got 2"):
        learn("words", max_size=2)


def test_the_beginning_of_a_long_text_is_read() -> None:
    vocabulary = learn("words")
    assert encode(vocabulary, "the cat a hat", max_length=2) == encode(vocabulary, "the cat")


def test_subwords_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("tokenizers"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r'pip install -e ".\[text\]"'):
        learn("subwords")
    assert learn("words").tokens


def test_one_way_to_write_a_text() -> None:
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
def test_copies_of_a_text(one: str, other: str, same: bool) -> None:
    assert (same_text_key(one) == same_text_key(other)) == same
