"""Read and write the files of a run. Errors are reported in one line that names the file."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from litnets.errors import InputError
from litnets.safety import files

# The type of a JSON value: "number", "string", "boolean", "any"; [type] for a list; (type, type) for a list of two; or,
# for an object, the type of each entry by its name. An entry `name?` may be null or missing; "*" stands for all other
# names.
JsonType: TypeAlias = "str | list[JsonType] | tuple[JsonType, ...] | Mapping[str, JsonType]"


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 text file.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: The file is not regular, cannot be read, or is not UTF-8.
    """
    try:
        with files.open_regular(path) as file:
            return file.read().decode("utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise damaged(path, str(error)) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: The file cannot be read, or does not hold a JSON object.
    """
    text = read_text(path)
    try:
        content = json.loads(text, parse_constant=lambda _: None)  # NaN and infinity, as `write_json` writes them
    except (ValueError, RecursionError) as error:  # ValueError: also a number with thousands of digits
        raise damaged(path, str(error)) from error
    if not isinstance(content, dict):
        raise damaged(path, f"expected an object, got {type(content).__name__}")
    return content


def check_types(path: Path, content: Any, expected: JsonType, name: str = "content") -> None:
    """Check the types in the content of a JSON file.

    Args:
        path: The file, for the message.
        content: The content, or a part of it.
        expected: Its type.
        name: Its name, for the message.

    Raises:
        InputError: A value has another type, or an entry is missing.
    """
    if not _has_type(content, expected):
        kinds = {list: "list", tuple: f"list of {len(expected)}", str: expected}
        raise damaged(path, f"{name}: expected {kinds.get(type(expected), 'object')}, got {str(content)[:40]!r}")
    if isinstance(expected, (list, tuple)):
        types_of_list = expected if isinstance(expected, tuple) else expected * len(content)
        for value, type_ in zip(content, types_of_list, strict=True):
            check_types(path, value, type_, f"an entry of {name}")
    elif isinstance(expected, Mapping):
        types = {key.removesuffix("?"): (type_, key.endswith("?")) for key, type_ in expected.items()}
        for key in [key for key in types if key != "*"] + [key for key in content if key not in types and "*" in types]:
            type_, is_optional = types.get(key) or types["*"]
            if not is_optional or content.get(key) is not None:
                check_types(path, content.get(key), type_, key)


def _has_type(value: Any, expected: JsonType) -> bool:
    """Return whether a value has a type, apart from the types of its entries."""
    if isinstance(expected, (list, tuple)):
        return isinstance(value, list) and (isinstance(expected, list) or len(value) == len(expected))
    if isinstance(expected, Mapping):
        return isinstance(value, dict)
    if expected == "number":  # in about the range of float32, so that its square is finite
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e39
    return expected == "any" or isinstance(value, bool if expected == "boolean" else str)


def damaged(path: Path, problem: str) -> InputError:
    """Return the error for a file of a run whose content is not what litnets wrote."""
    return InputError(f"{path} is damaged ({problem}); restore a copy of it, or delete it")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file completely or not at all. A link at `path` is replaced, not followed.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        files.write_text(path, text)
    except OSError as error:
        raise not_written(path, error) from error


def not_written(path: Path, error: OSError) -> InputError:
    """Return the error for a file of a run that cannot be written."""
    if not path.parent.is_dir():
        return InputError(f"{path} cannot be written: the folder is gone")
    return InputError(f"{path} cannot be written: {error.strerror or error}")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as JSON, completely or not at all. NaN and infinity, which JSON lacks, become null.

    Raises:
        InputError: The file cannot be written.
    """
    write_text(path, json.dumps(replace_non_finite(content), indent=2, allow_nan=False) + "\n")


def replace_non_finite(value: Any) -> Any:
    """Return a value with None in place of NaN and infinity, also inside lists and dicts."""
    if isinstance(value, Mapping):
        return {key: replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_non_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
