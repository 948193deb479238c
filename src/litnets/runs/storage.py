"""Read and write the files of a run. Errors are reported in one line that names the file."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from litnets.errors import InputError
from litnets.safety import files

_JSON_TYPES: dict[str, type | tuple[type, ...]] = {"object": dict, "list": list, "number": (int, float), "string": str}


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


def check_types(path: Path, content: Mapping[str, Any], types: Mapping[str, str]) -> None:
    """Check the types of those entries of a JSON object that are there and not null.

    Args:
        path: The file, for the message.
        content: The object.
        types: The type of each entry by its name: `object`, `list`, `number` or `string`.

    Raises:
        InputError: An entry has another type.
    """
    for name, expected in types.items():
        value = content.get(name)
        if value is not None and (not isinstance(value, _JSON_TYPES[expected]) or isinstance(value, bool)):
            raise damaged(path, f"{name}: expected {expected}, got {str(value)[:40]!r}")


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
