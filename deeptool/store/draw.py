"""Stored samples as a picture: images as a grid, series as lines, pairs of numbers as points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Array, Leaves, Ragged, Value, rows, slice_rows

_INK, _SOFT, _ACCENT = "#161b26", "#5d6678", "#3a4fd0"
_COLUMNS, _SMALLEST_IMAGE, _MOST_LINES, _MOST_POINTS, _MOST_TABLE_ROWS = 8, 4, 8, 2000, 12
_WIDTH = 10.0


@dataclass(frozen=True, eq=False)
class _Part:
    """One leaf, by its name, with one array or string a sample."""

    name: str
    kind: str  # "image", "series", "scalar" or "text"
    samples: list[Any]


def draw(batches: Sequence[Leaves], spec: Spec, count: int = 16, title: str = "") -> Figure:
    """Draw samples of a dataset.

    Parameters
    ----------
    batches : sequence of Leaves
        The samples to choose from: `count` of them are shown, evenly spaced. Pairs of numbers are
        drawn all, up to 2000. Batches can differ in the dimensions that the spec leaves open.
    spec : Spec
        Of the dataset. In elements of (x, y), y is the title of each sample where it is a class, a
        number, a one-hot vector or a string.
    count : int
        How many images, series or lines of a table.
    title : str
        Above all.

    Returns
    -------
    matplotlib.figure.Figure
    """
    kinds = [_kind(leaf) for leaf in spec.leaves]
    pairs = kinds == ["scalar", "scalar"]
    chosen = _choose(batches, _MOST_POINTS if pairs else count)
    parts = [
        _Part(name, kind, [_sample(leaves[place]) for leaves in chosen])
        for place, (name, kind) in enumerate(zip(spec.names, kinds, strict=True))
    ]
    if pairs:
        return _scatter(parts[0], parts[1], title)
    label = next((part for part in parts if _is_label(part)), None)
    labels = None if label is None else [_label(sample) for sample in label.samples]
    drawn = [part for part in parts if part.kind in ("image", "series") and part is not label]
    rest = [part for part in parts if part not in drawn and not (drawn and part is label)]
    heights = [_grid_height(part) for part in drawn]
    if rest or not drawn:
        heights.append(0.5 + 0.3 * min(len(chosen), _MOST_TABLE_ROWS))
    figure = _figure(sum(heights) + (0.5 if title else 0.1), title)
    panels = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for panel, part in zip(panels, drawn, strict=False):
        if len(drawn) > 1 or rest:
            panel.suptitle(part.name, fontsize=10, color=_SOFT, parse_math=False)
        _grid(panel, part, labels)
    if rest or not drawn:
        _table(panels[-1], rest)
    return figure


def _choose(batches: Sequence[Leaves], count: int) -> list[Leaves]:
    """Up to `count` single samples, evenly spaced over all batches."""
    ends = np.cumsum([rows(batch) for batch in batches])
    total = int(ends[-1])
    chosen = []
    for place in np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)):
        batch = int(np.searchsorted(ends, place, side="right"))
        row = int(place - ends[batch]) + rows(batches[batch])
        chosen.append(slice_rows(batches[batch], row, row + 1))
    return chosen


def _kind(leaf: Leaf) -> str:
    inner = leaf.inner
    numeric = leaf.dtype not in ("string", "complex64", "complex128")
    if not numeric or leaf.ragged_rank > 1:
        return "text"
    if leaf.ragged_rank:
        return "series" if len(inner) <= 1 and _few(inner) else "text"
    if inner in ((), (1,)):
        return "scalar"
    plane, channels = inner[:2], inner[2:]
    if len(inner) >= 2 and all(size is None or size >= _SMALLEST_IMAGE for size in plane):
        is_series = len(inner) == 2 and inner[1] is not None and inner[1] <= _MOST_LINES
        if channels in ((), (1,), (3,), (4,)) and not is_series:
            return "image"
    long = inner[0] is None or inner[0] >= _SMALLEST_IMAGE
    return "series" if len(inner) <= 2 and long and _few(inner[1:]) else "text"


def _few(sizes: Sequence[int | None]) -> bool:
    return all(size is not None and size <= _MOST_LINES for size in sizes)


def _sample(value: Value) -> Any:
    """The one sample of a leaf: an array, a string, or lists where it is ragged itself."""
    if not isinstance(value, Ragged):
        return value[0]
    sample: Any = value.flat_values
    if len(value.row_splits) > 1:
        sample = sample.tolist()
    for splits in value.row_splits[:0:-1]:
        sample = [sample[start:stop] for start, stop in itertools.pairwise(splits)]
    return sample


def _is_label(part: _Part) -> bool:
    """Whether `part` is y as a whole, and short enough for a title."""
    if part.name != "y":
        return False
    if part.kind in ("scalar", "text"):
        return all(np.size(sample) == 1 for sample in part.samples)
    return all(_one_hot(sample) for sample in part.samples)


def _one_hot(sample: Any) -> bool:
    values = np.asarray(sample)
    return values.ndim == 1 and bool(np.isin(values, (0, 1)).all()) and values.sum() == 1


def _label(sample: Any) -> str:
    if np.size(sample) > 1:
        return str(int(np.argmax(sample)))
    return _text(sample, 22)


def _text(sample: Any, longest: int = 34) -> str:
    """One sample in one line."""
    if isinstance(sample, np.ndarray) and sample.size == 1:
        sample = sample.reshape(-1)[0]
    if isinstance(sample, bytes):
        text = sample.decode("utf-8", "backslashreplace")
    elif isinstance(sample, np.ndarray):
        text = np.array2string(
            sample, precision=3, separator=", ", threshold=12, max_line_width=1000
        )
    elif isinstance(sample, (float, np.inexact)):
        text = f"{sample:.4g}"
    else:
        text = str(sample)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _figure(height: float, title: str) -> Figure:
    figure = Figure(figsize=(_WIDTH, height), dpi=120, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=12, color=_INK, weight="bold", parse_math=False)
    return figure


def _cells(part: _Part) -> tuple[int, int]:
    """Rows and columns of a grid; what is wide gets fewer columns."""
    total = len(part.samples)
    most = _COLUMNS
    if part.kind == "series" or np.shape(part.samples[0])[1] > 1.5 * np.shape(part.samples[0])[0]:
        most = 4
    columns = min(total, most)
    return math.ceil(total / columns), columns


def _grid_height(part: _Part) -> float:
    lines, columns = _cells(part)
    cell = _WIDTH / max(columns, 4)
    if part.kind == "series":
        return lines * cell * 0.75 + 0.4
    height, width = part.samples[0].shape[:2]
    return float(lines * (cell * min(height / width, 2.0) + 0.3) + 0.3)


def _grid(panel: Any, part: _Part, labels: Sequence[str] | None) -> None:
    lines, columns = _cells(part)
    grid = panel.subplots(lines, columns, squeeze=False, sharex=False, sharey=part.kind == "series")
    scale = _scale(part.samples) if part.kind == "image" else (0.0, 1.0)
    for place, axes in enumerate(grid.flat):
        if place >= len(part.samples):
            axes.set_axis_off()
            continue
        sample = part.samples[place]
        if part.kind == "image":
            axes.imshow(_image(sample, scale), cmap="gray", vmin=0.0, vmax=1.0)
            axes.set_axis_off()
        else:
            axes.plot(_floats(sample), linewidth=1.2, color=_ACCENT if sample.ndim == 1 else None)
            axes.tick_params(labelsize=7, colors=_SOFT, length=2)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25)
        if labels is not None:
            axes.set_title(labels[place], fontsize=9, color=_INK, pad=3, parse_math=False)


def _floats(sample: Any) -> Array:
    values: Array = np.nan_to_num(np.asarray(sample).astype(np.float64))
    return values


def _scale(samples: Sequence[Any]) -> tuple[float, float]:
    """What is black and what is white, for all samples together."""
    if samples[0].dtype in (np.uint8, np.bool_):
        return 0.0, 255.0 if samples[0].dtype == np.uint8 else 1.0
    filled = [_floats(sample) for sample in samples if sample.size]
    low = min((float(sample.min()) for sample in filled), default=0.0)
    high = max((float(sample.max()) for sample in filled), default=1.0)
    for usual in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        # Between a half of the usual range and all of it.
        if usual[0] <= low and usual[1] / 2 < high <= usual[1] and (low < 0 or usual[0] == 0):
            return usual
    return low, max(high, low + 1e-9)


def _image(sample: Any, scale: tuple[float, float]) -> Array:
    low, high = scale
    image = np.clip((_floats(sample) - low) / (high - low), 0.0, 1.0)
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image


def _scatter(x: _Part, y: _Part, title: str) -> Figure:
    figure = _figure(5.6, title)
    axes = figure.subplots()
    across, up = (
        [float(_floats(sample).reshape(-1)[0]) for sample in part.samples] for part in (x, y)
    )
    axes.scatter(across, up, s=14, color=_ACCENT, alpha=0.55, linewidths=0)
    axes.set_xlabel(x.name, color=_SOFT, parse_math=False)
    axes.set_ylabel(y.name, color=_SOFT, parse_math=False)
    axes.tick_params(colors=_SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure


def _table(panel: Any, parts: Sequence[_Part]) -> None:
    axes = panel.subplots()
    axes.set_axis_off()
    shown = range(min(len(parts[0].samples), _MOST_TABLE_ROWS))
    table = axes.table(
        cellText=[[_text(part.samples[row]) for part in parts] for row in shown],
        colLabels=[part.name for part in parts],
        loc="center",
        cellLoc="left",
        edges="horizontal",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8.5)
    table.scale(1.0, 1.3)
    for (row, _), cell in table.get_celld().items():
        if row == 0:
            cell.set_text_props(horizontalalignment="left", weight="bold")
        cell.set_edgecolor("#e3e6ee")
        cell.get_text().set_parse_math(False)
        cell.get_text().set_color(_INK)
