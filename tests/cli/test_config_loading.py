from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser, Namespace

from litnets.cli.config_loading import configure_jsonargparse, load_config
from litnets.safety.plain import load_yaml

# Texts that YAML, read once too often, would take for a number, a date, nothing, a list or a comment.
TEXTS = r"""
1e3 12e4567 123e456 1E5 1.e5 1e-3 1_000 0x1F 0o17 017 00123 0b1 1:30 1 -5 +5 1.5 .5 5. 1,000 .inf -.inf .nan inf nan
~ Null NULL none None on off yes no y N true True false 2020-01-01 0.1.2 - = << | > [ { } ? ! % @ ` ' " \ {a} *a &a !x
[1,2 #x a: &a 'q' "q" ~/x é 日本 😀 x:y @x %x `x
""".split()  # noqa: SIM905
TEXTS += ["", " ", "- x", "a: b", "x #y", "? x", "{a: b}", "null ", "2020-01-01 10:00:00"]
TEXTS += ["a\nb", "a: 1\nb: 2", "\tx", "x "]
QUOTED_ONLY = ["null", "[a]", "[1, 2]"]  # on the command line null is None, and [...] is a list


class Options:
    """Every kind of option that may hold a text."""

    def __init__(
        self,
        text: str = "",
        optional: str | None = None,
        text_or_list: str | list[str] = "",
        text_or_int: str | int = "",
        int_or_text: int | str = "",
        path: Path = Path(),
        texts: list[str] | None = None,
        names: dict[str, str] | None = None,
        anything: dict[str, Any] | None = None,
    ) -> None: ...


@pytest.fixture(scope="module")
def parser() -> ArgumentParser:
    configure_jsonargparse()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Options, "top")
    parser.add_subclass_arguments(Options, "part")
    return parser


def options(parser: ArgumentParser, *args: str) -> tuple[Namespace, dict[str, Any], dict[str, Any]]:
    """Return what was parsed, and the options at the top level and those of a class."""
    parsed = parser.parse_args(["--part", f"{__name__}.Options", *args])
    return parsed, parsed.top.as_dict(), parsed.part.init_args.as_dict()


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_of_the_command_line_stays_what_it_is(text: str, parser: ArgumentParser) -> None:
    args = []
    for prefix in ("top", "part"):
        args += [f"--{prefix}.{name}={text}" for name in ("text", "optional", "text_or_list", "path")]
        args += [f"--{prefix}.texts+={text}", f"--{prefix}.texts+={text}"]
    parsed, *both = options(parser, *args)
    for got in both:
        assert [got["text"], got["optional"], got["text_or_list"]] == [text] * 3
        assert {type(got[name]) for name in ("text", "optional", "text_or_list")} == {str}
        assert got["path"] == Path(text)
        assert got["texts"] == [text, text]
    check_survives_yaml(parser, parsed)


@pytest.mark.parametrize("text", TEXTS + QUOTED_ONLY)
def test_a_quoted_text_of_a_file_stays_what_it_is(text: str, parser: ArgumentParser) -> None:
    names = ["text", "optional", "text_or_list", "text_or_int", "int_or_text"]
    values: dict[str, Any] = dict.fromkeys([*names, "path"], text)
    values |= {"texts": [text, text], "names": {"a": text, text: "a"}}
    values |= {"anything": {"a": text, "b": [text, {"c": text}]}}
    content = {"top": values, "part": {"class_path": f"{__name__}.Options", "init_args": values}}
    Path("config.yaml").write_text(yaml.dump(content, default_style='"', allow_unicode=True), encoding="utf-8")
    parsed, *both = options(parser, "--config", "config.yaml")
    for got in both:
        assert got == values | {"path": Path(text)}
        assert {type(got[name]) for name in names} == {str}
    check_survives_yaml(parser, parsed)


def check_survives_yaml(parser: ArgumentParser, parsed: Namespace) -> None:
    """Check that what was parsed is the same after it was dumped and loaded, and that other loaders agree."""
    Path("dumped.yaml").write_text(parser.dump(parsed), encoding="utf-8")
    again = parser.parse_args(["--config", "dumped.yaml"])
    assert (again.top, again.part) == (parsed.top, parsed.part)
    text = Path("dumped.yaml").read_text(encoding="utf-8")
    assert load_yaml("dumped.yaml", text) == yaml.safe_load(text) == load_config(text)


def test_null_and_collections_of_the_command_line(parser: ArgumentParser) -> None:
    args = ["--top.optional", "null", "--part.optional", "x", "--part.optional", "null"]
    args += ["--top.texts", "['1e3', b]", "--part.texts", '["1e3", "b"]']
    args += ["--top.anything", "{a: '1e3', b: 1e3}", "--part.anything", "{a: '1e3', b: 1e3}", "--part.anything.c", "5"]
    args += ["--part.text_or_int", "5", "--top.int_or_text", "5", "--part.int_or_text", "x"]
    _, top, part = options(parser, *args)
    assert top["optional"] is part["optional"] is None
    assert top["texts"] == part["texts"] == ["1e3", "b"]
    assert top["anything"] == {"a": "1e3", "b": 1000.0}
    assert part["anything"] == {"a": "1e3", "b": 1000.0, "c": 5}
    assert (part["text_or_int"], top["int_or_text"], part["int_or_text"]) == ("5", 5, "x")


@pytest.mark.parametrize(
    "text", ["a: 1\nb: 2\na: 3", "b: {c: 1}\na:\n- x\na: 3", "x: &x {y: 1}\na:\n  <<: *x\na: 2", '{"a": 1,\n\n"a": 2}']
)
def test_a_key_that_is_there_twice(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match=r"^config.yaml: the key 'a' is there twice, in lines \d and \d"):
        load_config(text, "config.yaml")


def test_aliases_may_repeat_values() -> None:
    assert load_config("a: &a [1, 2]\nb: [*a, *a]") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


@pytest.mark.parametrize("levels", [7, 40])
def test_aliases_that_expand_exponentially(levels: int) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    with pytest.raises(yaml.YAMLError, match="more than 100,000 values"):
        load_config("\n".join(lines))


def test_a_recursive_alias() -> None:
    with pytest.raises(yaml.YAMLError, match="contains itself"):
        load_config("a: &a [*a]")


def test_a_byte_order_mark_and_umlauts(parser: ArgumentParser) -> None:
    Path("config.yaml").write_bytes("top: {text: größe 日本}".encode("utf-8-sig"))
    assert options(parser, "--config", "config.yaml")[1]["text"] == "größe 日本"
