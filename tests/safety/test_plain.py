import pytest

from litnets.errors import InputError
from litnets.safety.plain import dump_yaml, load_yaml


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("a: 1\nb: 2\na: 3", "a", "1 and 3"),
        ("a:\n  b: 1\n  c: 2\n\n  'b': 3", "b", "2 and 5"),
        ("- {a: 1, b: 2, a: 3}", "a", "1 and 1"),
        ("x: [1, {y: [{z: 1,\n z: 2}]}]", "z", "1 and 2"),
        ("? a\n: 1\n? a\n: 2", "a", "1 and 3"),
        ("base: &base {a: 1}\nmore:\n  <<: *base\n  b: 1\n  b: 2", "b", "4 and 5"),
    ],
)
def test_a_key_that_is_there_twice(text: str, key: str, lines: str) -> None:
    with pytest.raises(InputError, match=f"^file.yaml: the key '{key}' is there twice, in lines {lines}; keep one"):
        load_yaml("file.yaml", text)


def test_keys_that_are_not_the_same() -> None:
    assert load_yaml("file", "a: 1\nA: 2\nb: {a: 3}\n1: 4\n'1': 5") == {"a": 1, "A": 2, "b": {"a": 3}, 1: 4, "1": 5}


def test_merge_keys() -> None:
    text = "base: &base {a: 1, b: 2}\nmore: &more {c: 3}\nall:\n  <<: *base\n  a: 4\n  <<: *more\nagain: *base"
    loaded = load_yaml("file", text)
    assert loaded["all"] == {"a": 4, "b": 2, "c": 3}
    assert loaded["again"] == {"a": 1, "b": 2}
    both = "base: &base {a: 1}\nmore: &more {a: 2}\nall: {<<: [*base, *more]}"
    assert load_yaml("file", both)["all"] == {"a": 1}


@pytest.mark.parametrize("value", [1e-3, 1e300, -2.5, float("inf"), 0, -7, True, None, [], {}, [[1], {"a": None}]])
def test_values_survive_yaml(value: object) -> None:
    loaded = load_yaml("file", dump_yaml({"key": value}))["key"]
    assert (loaded, type(loaded)) == (value, type(value))


def test_numbers_and_dates_as_people_write_them() -> None:
    text = "[1e3, 1E-3, -1.5e3, 1.e5, 2020-01-01, 1_000, 0x1F]"
    assert load_yaml("file", text) == [1000, 0.001, -1500, 100000, "2020-01-01", 1000, 31]
