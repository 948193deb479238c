"""The data card: samples and classes of each split, the columns, and a contact sheet of inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

from litnets.analysis.report.blocks import Block, Example, Gallery, Section, Table
from litnets.analysis.report.formatting import is_number
from litnets.analysis.report.inputs import Inputs
from litnets.analysis.report.record import Record
from litnets.runs.storage import damaged

_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_MAX_ROWS = 100
_MAX_EXAMPLES = 40
_MAX_ROW_EXAMPLES = 7  # of a table, whose columns are described as well


def data_card(record: Record, inputs: Inputs) -> Section | None:
    """Build the section about the data; None if the run has recorded nothing about them."""
    data = record.data
    splits: Mapping[str, Mapping[str, Any]] = data.get("splits") or _recorded_splits(record)
    blocks: list[Block] = []
    if splits:
        blocks.append(_sizes(splits))
        names = data.get("class_names") or record.description.get("class_names")
        counts = {split: one["class_counts"] for split, one in splits.items() if one.get("class_counts")}
        if names is not None and any(len(values) != len(names) for values in counts.values()):
            raise damaged(record.run.data, f"class_counts: expected {len(names)} numbers, one per class")
        blocks += _classes(counts, names)
    if data.get("columns"):
        blocks.append(_columns(data["columns"]))
    if source := data.get("source"):
        rows = [(name, str(value)) for name, value in source.items()]
        blocks.insert(0, Table([], rows))
    shown = _MAX_ROW_EXAMPLES if data.get("kind") == "row" else _MAX_EXAMPLES
    for split, noun in _SPLITS.items():
        contents = (inputs.html(split, index) for index in inputs.examples(split)[:shown])
        examples = [Example(content, []) for content in contents if content is not None]
        if examples:
            blocks.append(Gallery(f"Inputs of the {noun} split", examples))
    return Section("Data", blocks) if blocks else None


def _recorded_splits(record: Record) -> dict[str, dict[str, Any]]:
    """Return what the recorded predictions tell about the splits, for a run without data.json."""
    splits: dict[str, dict[str, Any]] = {}
    for split, recorded in (("val", record.val), ("test", record.test)):
        if recorded is not None and "samples" in recorded.description:
            splits[split] = {"samples": recorded.description["samples"]}
    return splits


def _sizes(splits: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a table that describes the splits: a row for each number or distribution."""
    facts: dict[str, dict[str, str]] = {}
    for split, described in splits.items():
        facts.setdefault("samples", {})[split] = f"{described.get('samples') or 0:,}"
        for group in ("targets", "inputs"):
            for name, value in (described.get(group) or {}).items():
                for title, text in _facts(name, value):
                    facts.setdefault(title, {})[split] = text
    rows = [[title, *(values.get(split, "") for split in splits)] for title, values in facts.items()]
    return Table(["", *(_SPLITS.get(split, split) for split in splits)], rows[:_MAX_ROWS])


def _facts(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and "mean" in value:
        return [(name, _distribution(value))]
    if isinstance(value, Mapping):
        return [fact for key, part in value.items() for fact in _facts(f"{name}: {key}", part)]
    return [(name, f"{value:,}" if isinstance(value, int) else str(value))]


def _distribution(value: Mapping[str, Any]) -> str:
    mean, std, low, high = (_short(value.get(name)) for name in ("mean", "std", "min", "max"))
    return f"{mean} ± {std} [{low} to {high}]" if "min" in value else f"{mean} ± {std}"


def _short(number: Any) -> str:
    """Return a number with four digits, or a dash for null, which stands for values that are not finite."""
    return f"{number:.4g}" if is_number(number) else "–"  # noqa: RUF001


def _classes(counts: Mapping[str, Sequence[int]], names: Sequence[str] | None) -> list[Block]:
    if not counts or names is None:
        return []
    rows = [[str(name), *(values[index] for values in counts.values())] for index, name in enumerate(names)]
    caption = ""
    if len(rows) > _MAX_ROWS:
        first = next(iter(counts.values()))
        order = sorted(range(len(rows)), key=lambda index: first[index])
        rows = [rows[index] for index in order[:_MAX_ROWS]]
        caption = f"The {_MAX_ROWS} rarest of {len(order):,} classes."
    return [Table(["class", *(_SPLITS.get(split, split) for split in counts)], rows, "Classes", caption)]


def _columns(columns: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for column in columns[:_MAX_ROWS]:
        values = ""
        if column.get("values"):
            values = _distribution(column["values"])
        elif column.get("categories"):
            values = ", ".join(f"{name} ({count:,})" for name, count in column["categories"].items())
        elif column.get("first"):
            values = f"{column['first']} to {column['last']}"
        known = (column.get(name) for name in ("name", "type", "missing", "distinct", "use"))
        rows.append([*known, values])
    caption = f"The first {_MAX_ROWS} of {len(columns):,} columns." if len(columns) > _MAX_ROWS else ""
    head = ["column", "type", "missing", "distinct", "use", "training values"]
    keep = [i for i in range(len(head)) if any(row[i] not in (None, "") for row in rows)]
    return Table([head[i] for i in keep], [[row[i] for i in keep] for row in rows], "Columns", caption)
