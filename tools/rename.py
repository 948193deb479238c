"""Rename the template: the package, its command and every mention of them in the repository.

    make rename NAME=petvision
    python tools/rename.py petvision    # the same without make; then reinstall: pip install -e ".[dev]"

Three spellings of the name are replaced: `litnets` (package, command, distribution, W&B project), `LITNETS`
(environment variables) and `Litnets` (classes). `former_names.py` keeps the former name, so that runs made before can
still be tested and resumed. Then the code is formatted, imports are sorted and long lines are wrapped, so that
`make check test` passes.
"""

import ast
import io
import json
import keyword
import re
import subprocess
import sys
import tokenize
import tomllib
from importlib.util import find_spec
from pathlib import Path

LINE_LENGTH = 120  # as in pyproject.toml


def main(args: list[str]) -> int:
    """Rename the repository in the current folder and return the exit code."""
    if len(args) != 1:
        print("usage: make rename NAME=petvision", file=sys.stderr)
        return 2
    root = Path.cwd()
    old = tomllib.loads((root / "pyproject.toml").read_text())["project"]["name"]
    new = args[0]
    if problem := find_problem(root, old, new):
        print(f"rename: {problem}", file=sys.stderr)
        return 2
    count = rename(root, old, new)
    print(f"{old} is now {new}: {count} files changed; review them with git diff, then commit")
    return 0


def find_problem(root: Path, old: str, new: str) -> str | None:
    """Return why the repository cannot be renamed now, or not to this name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", new) or keyword.iskeyword(new):
        return f"{new!r} is not a package name; expected lower-case letters, digits and underscores, such as petvision"
    if new == old:
        return f"the package is already called {old}"
    if find_spec(new) is not None or (root / new).exists():
        return f"{new} is the name of an installed package or of a folder of this repository; choose another name"
    status = git(root, "status", "--porcelain")
    if status is None:
        return "needs a git repository, to know which files to change; run `git init && git add . && git commit` first"
    if status:
        return "there are uncommitted changes; commit them first, so that the rename gets its own commit"
    if find_spec("ruff") is None:
        return 'needs ruff, to format the renamed code; run `pip install -e ".[dev]"` first'
    return None


def rename(root: Path, old: str, new: str) -> int:
    """Rename everything and return the number of files changed."""
    spellings = {old: new, old.upper(): new.upper(), camel_case(old): camel_case(new)}
    # Part of another word is not replaced (`vision` in torchvision), but these are: LITNETS_DEBUG, LitnetsCLI, and a
    # name after an escape sequence (`\nlitnets`).
    pattern = re.compile(rf"(?:(?<![A-Za-z0-9])|(?<=\\[nt]))({'|'.join(map(re.escape, spellings))})(?![a-z0-9])")
    files = (git(root, "ls-files", "-z") or "").split("\0")
    changed = 0
    for path in (root / name for name in files if name):
        if path.is_symlink() or not path.is_file():
            continue
        try:
            text = path.read_bytes().decode("utf-8")  # read_text would convert line endings
        except UnicodeDecodeError:
            continue  # an image
        replaced = pattern.sub(lambda match: spellings[match[1]], text)
        if path.name == "former_names.py" and path.parent.name == old:
            replaced = add_former_name(replaced, old, new)
        if replaced != text:
            path.write_bytes(replaced.encode("utf-8"))
            changed += 1
    (root / "src" / old).rename(root / "src" / new)
    ruff(root, "check", "--quiet", "--fix-only", "--exit-zero")  # the order of imports
    ruff(root, "format", "--quiet")
    wrap_long_lines(root)
    ruff(root, "format", "--quiet")
    return changed


def add_former_name(source: str, old: str, new: str) -> str:
    """Return the source of former_names.py with the old name added."""
    (line,) = re.findall(r"^FORMER_NAMES: .*? = (\([^)]*\))", source, re.MULTILINE)
    names = [*(name for name in ast.literal_eval(line) if name != new), old]
    return source.replace(f"= {line}", "= (" + "".join(f'"{name}", ' for name in names) + ")", 1)


def camel_case(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def wrap_long_lines(root: Path) -> None:
    """Wrap lines of comments and docstrings that became too long; add `noqa: E501` to any other such line."""
    report = json.loads(ruff(root, "check", "--select", "E501", "--output-format", "json", "--exit-zero"))
    by_file: dict[str, set[int]] = {}
    for entry in report:
        by_file.setdefault(entry["filename"], set()).add(entry["location"]["row"])
    for name, rows in by_file.items():
        path = Path(name)
        source = path.read_text(encoding="utf-8")
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments = {token.start[0]: token.start[1] for token in tokens if token.type == tokenize.COMMENT}
        texts = rows_in_triple_quotes(source)
        lines = source.splitlines()
        for row in sorted(rows, reverse=True):
            lines[row - 1 : row] = wrap(lines[row - 1], comments.get(row), row in texts)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows_in_triple_quotes(source: str) -> set[int]:
    """Return the line numbers of docstrings and other strings in triple quotes."""
    rows: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Constant, ast.JoinedStr)):
            segment = ast.get_source_segment(source, node) or ""
            if re.match(r'[a-zA-Z]*"""', segment):
                rows.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return rows


def wrap(line: str, comment: int | None, is_text: bool) -> list[str]:
    """Split a line that is too long in two, or mark it as an exception.

    Args:
        line: The line.
        comment: The column where its comment begins, if it has one.
        is_text: Whether the line is part of a string in triple quotes.
    """
    indent = line[: len(line) - len(line.lstrip())]
    if is_text:
        return split(line, indent)
    if comment is None:
        return [f"{line}  # noqa: E501"]
    code, remark = line[:comment].rstrip(), line[comment:]
    if "noqa: " in remark:
        return [line.replace("noqa: ", "noqa: E501, ")]
    if "type: ignore" in remark:
        return [f"{line}  # noqa: E501"]
    return [*split(indent + remark, f"{indent}# "), *([code] if code else [])]


def split(line: str, prefix: str) -> list[str]:
    """Break a line at the last space that fits; the second line begins with `prefix`."""
    at = line.rfind(" ", len(prefix) + 1, LINE_LENGTH + 1)
    return [line] if len(line) <= LINE_LENGTH or at < 0 else [line[:at], prefix + line[at + 1 :]]


def ruff(root: Path, *args: str) -> str:
    command = [sys.executable, "-m", "ruff", *args]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def git(root: Path, *args: str) -> str | None:
    """Return the output of a git command, or None if it fails or git is not installed."""
    try:
        done = subprocess.run(["git", *args], cwd=root, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
