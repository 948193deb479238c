"""Pictures of attributions, importances, filters and units, drawn with matplotlib without a display."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litnets.analysis.explain.checks import Check
from litnets.analysis.explain.inputs import Example
from litnets.analysis.explain.permutation import Importance
from litnets.errors import InputError
from litnets.safety.escaping import printable

_RED, _GREEN, _GRAY = "#b2182b", "#1b7837", "#666666"
_LINE_WIDTH = 90  # characters of a line of tokens
_MAX_TOKENS = 270
_MAX_BARS = 20
_MAX_LABELS = 12  # channels whose names fit beside a heat map


def draw_maps(
    path: Path,
    method: str,
    examples: Sequence[Example],
    titles: Sequence[str],
    maps: Sequence[Tensor],
    random_maps: Sequence[Tensor],
    checks: Sequence[Check],
) -> None:
    """Draw each input, its map, and the map of a network with random weights.

    Args:
        path: The PNG file.
        method: Name of the method.
        examples: The inputs.
        titles: Title of each input: its name and the explained answer.
        maps: The map of each input.
        random_maps: The map of each input for one network with random weights.
        checks: The checks of each map.
    """
    kind = examples[0].kind
    heights = [_row_height(example) for example in examples]
    columns = 1 if kind == "text" else 2 if kind == "row" else 3
    width = {"image": 6.6, "text": 9.5, "row": 6.8}.get(kind, 10)
    figure = _figure((width, sum(heights)))
    grid = figure.add_gridspec(len(examples), columns, height_ratios=heights)
    signed = any(bool((values < 0).any()) for values in (*maps, *random_maps))
    rows = zip(examples, titles, maps, random_maps, checks, strict=True)
    for row, (example, title, values, random, check) in enumerate(rows):
        verdict, color = _verdict(check)
        axes = [figure.add_subplot(grid[row, column]) for column in range(columns)]
        if kind == "text":
            _title(axes[0], f"{title}\n{method}: {verdict}", color, limit=120)
            _draw_tokens(axes[0], example, values, random, signed)
            continue
        if kind == "row":
            _title(axes[0], f"{title}\n{method}: {verdict}", color)
            _title(axes[1], "random weights", _GRAY)
            _draw_columns(axes[0], example, values, values)
            _draw_columns(axes[1], example, random, values)
            continue
        draw_input(axes[0], example)
        _title(axes[0], title)
        _title(axes[1], f"{method}\n{verdict}", color)
        _title(axes[2], "random weights", _GRAY)
        _draw_heat(axes[1], example, values, signed)
        _draw_heat(axes[2], example, random, signed)
    _save(figure, path)


def _row_height(example: Example) -> float:
    """Return the height of the row of an input, in inches."""
    if example.kind == "text":
        lines = len(_wrap(example.tokens[:_MAX_TOKENS]))
        return 0.8 + 0.5 * lines
    if example.kind == "row":
        return 0.9 + 0.2 * min(len(example.groups), _MAX_BARS)
    return 2.2 if example.kind == "image" else 2.0


def _verdict(check: Check) -> tuple[str, str]:
    if check.passed:
        return "passed", _GREEN
    return f"FAILED: {', '.join(check.failures)}", _RED


def draw_input(axes: Any, example: Example) -> None:
    """Draw an input: an image, the spectrogram of a sound, the lines of a series, or text."""
    if example.kind == "image":
        image = example.raw.float()
        # White is not always 255: the pixels of Digits go up to 16.
        image = image / image.max().clamp(min=1) if example.raw.dtype == torch.uint8 else _stretched(image)
        colors = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
        axes.imshow(colors.movedim(0, -1).clamp(0, 1).numpy(), interpolation="nearest")
    elif example.kind == "audio":
        spectrogram = example.inputs[0][0].cpu()
        axes.imshow(spectrogram.T.numpy(), aspect="auto", origin="lower", cmap="magma", interpolation="nearest")
    elif example.kind == "series":
        axes.plot(example.inputs[0][0].cpu().numpy(), linewidth=0.8)
        axes.margins(x=0)
        axes.tick_params(labelsize=6)
    else:
        text = _text(example.tokens) if example.kind == "text" else "\n".join(_cells(example)[:8])
        axes.text(0, 0.5, printable(text, lines=True), fontsize=7, va="center", parse_math=False)
    if example.kind != "series":
        axes.set_axis_off()


def _cells(example: Example) -> list[str]:
    """Return the name of each column of a row, with its value if it is a number."""
    columns = zip(example.groups.items(), example.raw.tolist(), strict=True)
    return [
        f"{_short(name)} = {value:.4g}" if len(indices) == 1 else _short(name) for (name, indices), value in columns
    ]


def _stretched(image: Tensor) -> Tensor:
    low, high = image.min(), image.max()
    return (image - low) / (high - low).clamp(min=1e-12)


def _draw_heat(axes: Any, example: Example, values: Tensor, signed: bool) -> None:
    """Draw a map as colors. If it has signs, red supports the answer, and blue counts against it."""
    cells = values if example.kind == "image" else values.T
    sizes = values[values != 0].abs()
    limit = float(sizes.quantile(0.995)) if 0 < len(sizes) < 2**24 else 1.0  # a few outliers must not hide the rest
    low, colors = (-limit, "RdBu_r") if signed else (0.0, "magma")
    aspect = "equal" if example.kind == "image" else "auto"
    origin = "lower" if example.kind == "audio" else "upper"
    axes.imshow(cells.numpy(), cmap=colors, vmin=low, vmax=limit, aspect=aspect, origin=origin, interpolation="nearest")
    if example.kind == "image":
        axes.set_axis_off()
    axes.tick_params(labelsize=6)
    if example.kind == "series" and 0 < len(example.groups) <= _MAX_LABELS:
        axes.set_yticks(range(len(example.groups)), [_short(name) for name in example.groups])
    elif example.kind == "series":
        axes.set_yticks([])


def _draw_columns(axes: Any, example: Example, values: Tensor, order_by: Tensor) -> None:
    """Draw a bar for each column of a row, those of the largest values in `order_by` first."""
    order = order_by.abs().argsort(descending=True, stable=True)[:_MAX_BARS].tolist()
    names = _cells(example)
    colors = [_RED if values[i] > 0 else "#2166ac" for i in order]
    axes.barh(range(len(order)), [float(values[i]) for i in order], color=colors)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(range(len(order)), [names[i] for i in order], fontsize=7)
    axes.tick_params(axis="x", labelsize=6)
    axes.invert_yaxis()


def _text(tokens: Sequence[str]) -> str:
    """Return the first tokens of a text: characters side by side, words between spaces."""
    joined = ("" if all(len(token) == 1 for token in tokens) else " ").join(tokens)
    return "\n".join(joined[start : start + 24] for start in range(0, min(len(joined), 120), 24))


def _wrap(tokens: Sequence[str]) -> list[list[tuple[int, str]]]:
    """Return the tokens of each line, each with the column in which it starts."""
    lines: list[list[tuple[int, str]]] = [[]]
    column = 0
    for token in map(_visible, tokens):
        if column and column + len(token) > _LINE_WIDTH:
            lines.append([])
            column = 0
        lines[-1].append((column, token))
        column += len(token) + 1
    return lines


def _visible(token: str) -> str:
    return _short(printable(token).replace(" ", "␣"))


def _draw_tokens(axes: Any, example: Example, values: Tensor, random: Tensor, signed: bool) -> None:
    """Draw the tokens of a text twice: colored by the map, and, below, by that of random weights."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    lines = _wrap(example.tokens[:_MAX_TOKENS])
    axes.set(xlim=(-14, _LINE_WIDTH), ylim=(2 * len(lines), 0))
    axes.set_axis_off()
    for block, (label, map_) in enumerate((("trained", values), ("random", random))):
        limit = max(float(map_.abs().max()), 1e-12)
        shades = ((map_ / limit + 1) / 2 if signed else map_ / limit * 0.7).tolist()
        colors = colormaps["RdBu_r" if signed else "Reds"](shades)
        axes.text(-14, block * len(lines) + 0.6, label, fontsize=8, color=_GRAY, va="center")
        index = 0
        for row, line in enumerate(lines):
            for column, token in line:
                y = block * len(lines) + row
                color = colors[index]
                axes.add_patch(Rectangle((column - 0.4, y + 0.1), len(token) + 0.8, 0.8, color=color, linewidth=0))
                ink = "white" if float(color[:3] @ np.array([0.3, 0.6, 0.1])) < 0.45 else "black"
                middle = column + len(token) / 2
                style = {"fontsize": 9, "family": "monospace", "ha": "center", "va": "center"}
                axes.text(middle, y + 0.52, token, color=ink, parse_math=False, **style)
                index += 1


def draw_importances(path: Path, importances: Sequence[Importance], metric: str) -> None:
    """Draw the permutation importance of the most important columns, with intervals; gray if they include 0."""
    shown = sorted(importances, key=lambda importance: -importance.mean)[:_MAX_BARS]
    figure = _figure((6.5, 0.9 + 0.25 * len(shown)))
    axes = figure.add_subplot()
    for row, importance in enumerate(shown):
        color = "#2166ac" if importance.is_significant else "#bbbbbb"
        axes.barh(row, importance.mean, color=color)
        axes.plot([importance.low, importance.high], [row, row], color="black", linewidth=1)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(range(len(shown)), [_short(importance.column) for importance in shown], fontsize=8)
    axes.invert_yaxis()
    change = "rise of the loss" if metric == "loss" else f"fall of {metric}"
    axes.set_xlabel(f"{change} when the column is shuffled (95% interval)", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    _save(figure, path)


def draw_filters(path: Path, filters: Tensor, names: Sequence[str]) -> None:
    """Draw filters: gray or color images `(N, C, H, W)`, or one heat map of `(N, weights)`.

    Args:
        path: The PNG file.
        filters: The weights.
        names: Name of each weight of a filter `(N, weights)`; empty if they have none.
    """
    if filters.ndim == 2:
        figure = _figure((min(10, 2.5 + 0.25 * filters.shape[1]), min(8, 1.5 + 0.14 * len(filters))))
        axes = figure.add_subplot()
        limit = max(float(filters.abs().max()), 1e-12)
        axes.imshow(filters.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        axes.set_ylabel("unit", fontsize=8)
        axes.tick_params(labelsize=7)
        if 0 < len(names) <= 40:
            axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=90)
        _save(figure, path)
        return
    columns = min(8, len(filters))
    rows = -(-len(filters) // columns)
    figure = _figure((columns, rows + 0.2))
    grid = figure.add_gridspec(rows, columns)
    for number, weights in enumerate(filters):
        axes = figure.add_subplot(grid[number // columns, number % columns])
        axes.set_axis_off()
        if weights.shape[0] == 3:
            axes.imshow(_stretched(weights).movedim(0, -1).numpy(), interpolation="nearest")
        else:
            image = weights.mean(0)
            limit = max(float(image.abs().max()), 1e-12)
            axes.imshow(image.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    _save(figure, path)


def draw_units(path: Path, rows: Sequence[tuple[str, bool, Sequence[Example]]]) -> None:
    """Draw the inputs that activate units most.

    Args:
        path: The PNG file.
        rows: For each unit, its title, whether it passed its check, and the inputs.
    """
    columns = max(len(examples) for _, _, examples in rows)
    height = 0.8 if rows[0][2][0].kind == "text" else 1.4
    figure = _figure((1.9 + 1.5 * columns, height * len(rows) + 0.2))
    grid = figure.add_gridspec(len(rows), columns + 1)
    for row, (title, passed, examples) in enumerate(rows):
        axes = figure.add_subplot(grid[row, 0])
        axes.set_axis_off()
        color = "black" if passed else _RED
        axes.text(0, 0.5, printable(title, lines=True), fontsize=8, va="center", color=color, parse_math=False)
        for column, example in enumerate(examples):
            axes = figure.add_subplot(grid[row, column + 1])
            draw_input(axes, example)
            axes.tick_params(labelsize=5)
    _save(figure, path)


def _figure(size: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError('explain needs the package matplotlib; run: pip install -e ".[explain]"') from error
    return Figure(figsize=size, layout="constrained")


def _title(axes: Any, text: str, color: str = "black", limit: int = 40) -> None:
    lines = [_short(line, limit) for line in text.split("\n")]
    axes.set_title("\n".join(lines), fontsize=8, color=color, loc="left", parse_math=False)


def _short(name: str, limit: int = 24) -> str:
    text = printable(name)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _save(figure: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a script that the font lacks is drawn as boxes
        figure.savefig(path, dpi=100, metadata={"Software": None})
