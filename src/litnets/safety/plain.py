"""Check that checkpoints and configurations consist of plain values, few enough to be copied and printed.

A file of a few hundred bytes can describe a list with more elements than there are atoms, if each of a hundred levels
refers twice to the level below. Values are therefore counted once per reference, before anything copies them.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from litnets.errors import InputError

MAX_VALUES = 10_000_000  # in a checkpoint: the words of a vocabulary, for instance
MAX_YAML_VALUES = 100_000
MAX_DEPTH = 100

_SCALARS = (type(None), bool, int, float, complex, str, bytes)
_CHARACTERS_PER_VALUE = 64  # a long text counts as several values


class TooLargeError(InputError, yaml.YAMLError):  # type: ignore[misc]  # PyYAML has no types
    """A value that is too large to be copied or printed: it has too many elements or levels, or contains itself."""


def check_plain(what: str, value: Any, others: tuple[type, ...] = ()) -> None:
    """Check that a value consists of numbers, strings and None, and of lists, tuples, sets and dicts of them.

    Args:
        what: What the value is, for the error.
        value: The value.
        others: Further types of single values that are allowed, such as tensors.

    Raises:
        InputError: The value holds something else, such as a function, or is too large.
    """

    def parts_or_refuse(part: Any) -> Sequence[Any] | None:
        parts = _parts_of_value(part)
        if parts is None and (isinstance(part, type) or not isinstance(part, (*_SCALARS, *others))):
            raise InputError(f"{what}: expected numbers, strings, and lists and dicts of them, got {_describe(part)}")
        return parts

    _measure(what, value, parts_or_refuse, 0, {})


def check_size(what: str, value: Any) -> None:
    """Check that a value is small enough to be copied and printed, whatever its types.

    Raises:
        TooLargeError: The value has too many elements or levels, or contains itself.
    """
    _measure(what, value, _parts_of_value, 0, {})


class DuplicateKeyError(InputError, yaml.YAMLError):  # type: ignore[misc]
    """A key that a YAML mapping holds twice, of which PyYAML would drop the first."""


# The loader written in C, if PyYAML was built with libyaml.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Numbers such as 1e-3, which YAML 1.1 reads as strings: it expects a point and a sign (1.0e-3).
_FLOAT_TAG = "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
_EXPONENT_STARTS = list("-+0123456789")


class Loader(_SafeLoader):  # type: ignore[misc]
    """The YAML loader of this package: PyYAML's safe one, for documents of bounded size without duplicate keys.

    1e-3 is a number, and a date is a string.
    """

    def __init__(self, stream: str) -> None:
        # Read as events first: the loader written in C overflows the stack on tens of thousands of levels.
        depth, stream = 0, str(stream)  # and it takes no subclass of str
        for event in yaml.parse(stream, Loader=_SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise TooLargeError(f"more than {MAX_DEPTH} levels of lists and dicts")
        super().__init__(stream)

    def get_single_node(self) -> yaml.Node | None:
        """Return the document's root node.

        Raises:
            TooLargeError: It has too many nodes or levels, or holds itself.
            DuplicateKeyError: A mapping holds a key twice.
        """
        root: yaml.Node | None = super().get_single_node()
        if root is not None:
            _measure("YAML", root, _parts_of_node, 0, {}, MAX_YAML_VALUES)
            _check_unique_keys(root)
        return root


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in Loader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(_FLOAT_TAG, _EXPONENT, _EXPONENT_STARTS)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """PyYAML's safe dumper, which quotes what `Loader` or another YAML 1.1 loader would not read as a string."""


_Dumper.add_implicit_resolver(_FLOAT_TAG, _EXPONENT, _EXPONENT_STARTS)


def dump_yaml(value: Any) -> str:
    """Return plain values as YAML. `load_yaml` returns the same values, every string included."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    return text


def load_yaml(what: str, text: Any) -> Any:
    """Return the plain values in a YAML string.

    Raises:
        InputError: It is not a text, not valid YAML, too large, or holds a key twice.
    """
    if not isinstance(text, str):
        raise InputError(f"{what}: expected a string, got {_describe(text)}")
    try:
        return yaml.load(text, Loader=Loader)
    except DuplicateKeyError as error:
        raise InputError(f"{what}: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{what}: not valid YAML: {' '.join(str(error).split())}") from error


def _measure(
    what: str,
    value: Any,
    parts_of: Callable[[Any], Sequence[Any] | None],
    depth: int,
    measured: dict[int, tuple[int, int]],
    max_values: int = MAX_VALUES,
) -> tuple[int, int]:
    """Return the number of values and the height of the tree below `value`; `measured` caches those of containers."""
    parts = parts_of(value)
    if parts is None:
        text = value.value if isinstance(value, yaml.ScalarNode) else value
        return 1 + (len(text) // _CHARACTERS_PER_VALUE if isinstance(text, (str, bytes)) else 0), 0
    if id(value) not in measured:
        if depth >= MAX_DEPTH:
            raise TooLargeError(f"{what}: has more than {MAX_DEPTH} levels of lists and dicts, or contains itself")
        sizes = [_measure(what, part, parts_of, depth + 1, measured, max_values) for part in parts]
        measured[id(value)] = 1 + sum(size for size, _ in sizes), 1 + max((height for _, height in sizes), default=0)
    size, height = measured[id(value)]
    if size > max_values:
        raise TooLargeError(f"{what}: has more than {max_values:,} values, counting each reference")
    if depth + height > MAX_DEPTH:
        raise TooLargeError(f"{what}: has more than {MAX_DEPTH} levels of lists and dicts")
    return size, height


def _check_unique_keys(root: yaml.Node) -> None:
    nodes, seen = [root], {id(root)}
    while nodes:
        node = nodes.pop()
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":  # << may be there twice
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                raise DuplicateKeyError(
                    f"the key '{key.value}' is there twice, in lines {lines[name]} and {line}; keep one of them"
                )
            lines[name] = line
        for part in _parts_of_node(node) or ():
            if id(part) not in seen:
                seen.add(id(part))
                nodes.append(part)


def _parts_of_value(value: Any) -> Sequence[Any] | None:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else None


def _parts_of_node(node: yaml.Node) -> Sequence[Any] | None:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else None


def _describe(value: Any) -> str:
    kind = "class" if isinstance(value, type) else type(value).__name__
    return f"the {kind} {getattr(value, '__name__', '')}".strip()
