"""List the files and subfolders of a folder: each real file once, without system files such as thumbnails."""

import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from litnets.errors import InputError, abbreviate
from litnets.safety.escaping import printable

# Hidden files, and what Windows, macOS, network drives and archives add: thumbnails, settings, recycle bins.
_SYSTEM_NAME = re.compile(
    r"\..*|@eaDir|@tmp|@Recycle|#recycle|\$RECYCLE\.BIN|System Volume Information|lost\+found|__MACOSX|__pycache__|"
    r"(eh)?thumbs\.db|desktop\.ini|Icon\r",
    re.IGNORECASE | re.DOTALL,
)


def is_system_name(name: str) -> bool:
    """Return whether a file or folder is hidden or was added by a system, such as `.DS_Store` or `@eaDir`."""
    return _SYSTEM_NAME.fullmatch(name) is not None


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files with one of these suffixes in a folder and its subfolders; see `real_files_in`."""
    return list(real_files_in(folder, suffixes))


def real_files_in(
    folder: Path, suffixes: Collection[str], root: Path | None = None, other_suffixes: Counter[str] | None = None
) -> dict[Path, str]:
    """Map the path of each file with one of these suffixes, in a folder and its subfolders, to its real path.

    Each real file is listed once; see `linked_files_in`.
    """
    files = linked_files_in(folder, suffixes, root, other_suffixes)
    first_paths: dict[str, Path] = {}
    for path, real in files.items():
        first_paths.setdefault(real, path)
    return {path: real for path, real in files.items() if first_paths[real] == path}


def linked_files_in(
    folder: Path, suffixes: Collection[str], root: Path | None = None, other_suffixes: Counter[str] | None = None
) -> dict[Path, str]:
    """Map the path of each file with one of these suffixes, in a folder and its subfolders, to its real path.

    The paths are sorted. The case of a suffix does not matter. Links are followed, and several may lead to the same
    file. FIFOs, sockets and devices are skipped, and their number is printed.

    Args:
        folder: The folder.
        suffixes: Suffixes of the files, in lower case, with the dot.
        root: A folder around `folder`, to which no link may lead back.
        other_suffixes: Counts the suffixes of the other files.

    Raises:
        InputError: A name is not UTF-8, or the links form a loop.
        OSError: A folder cannot be read.
    """
    files: dict[Path, str] = {}
    visited: set[str] = set()
    # A folder, its real path, and the real paths of the folders whose links led to it.
    stack = [_follow(folder, () if root is None else (os.path.realpath(root),))]
    while stack:
        current, real, origins = stack.pop()
        if real in visited:
            continue
        visited.add(real)
        folders = []
        with os.scandir(current) as entries:
            for entry in entries:
                path = current / entry.name
                if is_system_name(entry.name):
                    continue
                if entry.is_dir():
                    if entry.is_symlink():
                        folders.append(_follow(path, (*origins, real)))
                    else:
                        folders.append((path, f"{real}{os.sep}{entry.name}", origins))
                elif path.suffix.lower() in suffixes:
                    files[path] = os.path.realpath(path) if entry.is_symlink() else f"{real}{os.sep}{entry.name}"
                elif other_suffixes is not None:
                    other_suffixes[path.suffix.lower()] += 1
        stack += sorted(folders, reverse=True)
    for path in files:
        check_name(path)
    return {path: files[path] for path in regular_files(sorted(files))}


def _follow(folder: Path, origins: tuple[str, ...]) -> tuple[Path, str, tuple[str, ...]]:
    """Return a folder, its real path, and the real paths of the folders whose links led to it.

    Raises:
        InputError: The folder is or contains one of `origins`.
    """
    real = os.path.realpath(folder)
    if any(origin == real or origin.startswith(f"{real.rstrip(os.sep)}{os.sep}") for origin in origins):
        raise InputError(f"{folder} links to {real}, which contains it, so reading it would never end; remove the link")
    return folder, real, origins


def regular_files(files: Sequence[Path]) -> list[Path]:
    """Return the files without FIFOs, sockets and devices, which might never end, and print how many were skipped.

    A missing file is kept, so that reading it raises an error.
    """
    special = [path for path in files if _is_special(path)]
    if special:
        named = printable(abbreviate([str(path) for path in special], 3))
        print(f"{len(special)} of {len(files)} files skipped, not regular files: {named}", flush=True)
    return [path for path in files if path not in set(special)] if special else list(files)


def _is_special(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def subfolders(folder: Path) -> list[str]:
    """List the names of the subfolders of a folder, sorted, without system folders.

    Raises:
        InputError: A name is not UTF-8, or two names look the same.
        OSError: The folder cannot be read.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not is_system_name(entry.name))
    for name in names:
        check_name(folder / name)
    check_twins(folder, names)
    return names


def check_twins(folder: Path, names: Iterable[str]) -> None:
    """Raise InputError if two names of classes in a folder look the same."""
    by_look: dict[str, str] = {}
    for name in names:
        twin = by_look.setdefault(unicodedata.normalize("NFC", name), name)
        if twin != name:
            raise InputError(f"{folder}: two classes are named '{name}': {explain_twins(name, [twin])}; merge them")


def data_files(folder: Path) -> list[str]:
    """List the names of the files directly in a folder, sorted, without system files."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.is_dir() and not is_system_name(entry.name))


def explain_twins(name: str, others: Iterable[str]) -> str:
    """Return how a name differs from one that looks the same, or an empty string if no other name does.

    An accented letter is one character, or a letter and a combining accent, as in file names from macOS.
    """
    for other in others:
        if name != other and unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other):
            return f"{name!a} and {other!a} look the same, but are composed of different characters"
    return ""


def check_name(path: Path) -> None:
    """Raise InputError if a path is not UTF-8, because results and checkpoints could not store its name."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: the name is not UTF-8; rename the file or folder") from error


def names_in(path: Path, files: Sequence[Path]) -> list[str]:
    """Return the path of each file relative to the folder `path`, or its name if `path` is the file itself."""
    return [file.name if file == path else file.relative_to(path).as_posix() for file in files]


def new_files(path: Path, suffixes: Collection[str], kind: str) -> list[Path]:
    """List the files in a folder and its subfolders, or a single file.

    Args:
        path: The folder or file.
        suffixes: Suffixes of the files, in lower case, with the dot.
        kind: What a file is called in messages, such as `image`.

    Raises:
        InputError: There is no such file, the folder cannot be read, the path is neither a file nor a folder, or a name
            is not UTF-8.
    """
    check_name(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is neither a regular file nor a folder")
    try:
        files = [path] if path.is_file() else files_in(path, suffixes)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if not files or files[0].suffix.lower() not in suffixes:
        article = "an" if kind[0] in "aeiou" else "a"
        problem = f"is not {article} {kind}" if path.is_file() else f"contains no {kind}"
        raise InputError(f"{path} {problem} ({', '.join(sorted(suffixes))})")
    return files
