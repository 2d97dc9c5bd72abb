"""Draws the dashboards from a running Prometheus: `python charts/carlien/pictures.py --prometheus URL --out FOLDER`.

Not Grafana's own pictures. Panels are placed, queried, named, scaled and coloured as their JSON says, so that an empty panel, a wrong
unit or a legend nobody can read is seen; fonts and strokes are ours. Exit 1 where a panel has no data or can't be drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

DASHBOARDS = Path(__file__).parent / "files" / "dashboards"
COLUMNS = 24
CELL_INCHES = (0.75, 0.42)
POINTS = 300
LEGEND_ROWS = 3
# Grafana's names of the colours that dashboards.py uses.
COLOURS = {"green": "#37872d", "yellow": "#e0b400", "orange": "#fa6400", "red": "#c4162a", "blue": "#1f60c4", "text": "#24292e"}
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_SECONDS = ((1, 1e-6, "µs"), (1e-3, 1e-3, "ms"), (1, 1, "s"), (60, 60, "min"), (3600, 3600, "h"), (86400, 86400, "days"))


@dataclass(frozen=True)
class Series:
    """A named line: instants (seconds since 1970) and values; one point where the query was of now."""

    name: str
    at: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Prometheus:
    """Where to ask, and the time range of the pictures (seconds since 1970)."""

    url: str
    begin: float
    end: float

    def series(self, target: dict[str, Any]) -> list[Series]:
        """What one query of a panel returns."""
        if target["range"]:
            step = max(5.0, (self.end - self.begin) / POINTS)
            results = self._ask("query_range", query=target["expr"], start=self.begin, end=self.end, step=step)
        else:
            results = self._ask("query", query=target["expr"], time=self.end)
        return [one for one in (_series(result, target["legendFormat"]) for result in results) if one.at]

    def _ask(self, what: str, **parameters: object) -> list[dict[str, Any]]:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the address given
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found


def _series(result: dict[str, Any], legend: str) -> Series:
    labels = result["metric"]
    name = _LABEL.sub(lambda match: labels.get(match[1], ""), legend) or ", ".join(f"{key}={labels[key]}" for key in sorted(labels))
    # A quantile of nothing is NaN, which no panel shows.
    points = [(float(at), float(value)) for at, value in result.get("values") or [result["value"]] if not math.isnan(float(value))]
    return Series(name, tuple(at for at, _ in points), tuple(value for _, value in points))


def formatted(value: float, unit: str, decimals: int | None = None) -> str:
    """A value as Grafana writes it in this unit; KeyError for a unit that isn't known here."""
    if unit == "s":
        _, scale, name = next((row for row in reversed(_SECONDS) if abs(value) >= row[0]), _SECONDS[0])
        return f"{_digits(value / scale, decimals)} {name}" if value else "0 s"
    if unit == "percentunit":
        return f"{_digits(100 * value, decimals)}%"
    if unit == "bytes":
        power = next((power for power in (3, 2, 1) if abs(value) >= 1024**power), 0)
        return f"{_digits(value / 1024**power, decimals)} {('B', 'KiB', 'MiB', 'GiB')[power]}"
    suffix = {"short": "", "none": "", "reqps": " req/s", "cps": " c/s", "string": ""}[unit]
    power = next((power for power in (3, 2, 1) if abs(value) >= 1000**power), 0) if unit != "none" else 0
    return _digits(value / 1000**power, decimals) + ("", " K", " Mil", " Bil")[power] + suffix


def _digits(value: float, decimals: int | None) -> str:
    return f"{value:.{decimals}f}" if decimals is not None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def draw(board: dict[str, Any], prometheus: Prometheus) -> tuple[Figure, list[str]]:
    """The whole dashboard, and the titles of panels without data."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    figure = Figure(figsize=(COLUMNS * CELL_INCHES[0], rows * CELL_INCHES[1] + 0.5), dpi=80, facecolor="#f4f5f5")
    figure.suptitle(
        f"{board['title']}   (drawn by carlien, not by Grafana)", x=0.01, y=1 - 0.1 / figure.get_figheight(), ha="left", va="top"
    )
    empty = []
    for panel in board["panels"]:
        axes = _place(figure, panel["gridPos"])
        axes.set_title(panel["title"], loc="left", fontsize=11, fontweight="bold")
        series = [one for target in panel["targets"] for one in prometheus.series(target)]
        if series:
            {"timeseries": _over_time, "stat": _number, "bargauge": _bars}[panel["type"]](axes, panel, series)
        else:
            empty.append(panel["title"])
            axes.text(0.5, 0.5, "No data", ha="center", va="center", color=COLOURS["red"], fontsize=16, transform=axes.transAxes)
    return figure, empty


def _place(figure: Figure, grid: dict[str, int]) -> Axes:
    """Axes on Grafana's grid of 24 columns, with room for the title, the ticks and the legend within the panel's cell."""
    width, height = figure.get_size_inches()
    left, top = grid["x"] * CELL_INCHES[0], 0.5 + grid["y"] * CELL_INCHES[1]
    inner = (grid["w"] * CELL_INCHES[0] - 1.0, grid["h"] * CELL_INCHES[1] - (0.6 if grid["h"] <= 4 else 1.25))
    return figure.add_axes(((left + 0.85) / width, 1 - (top + 0.35 + inner[1]) / height, inner[0] / width, inner[1] / height))


def _defaults(panel: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = panel["fieldConfig"]["defaults"]
    return defaults


def _words(value: float, panel: dict[str, Any]) -> dict[str, str] | None:
    mappings = _defaults(panel).get("mappings") or ()
    return next((mapping["options"][f"{value:g}"] for mapping in mappings if f"{value:g}" in mapping["options"]), None)


def _written(value: float, panel: dict[str, Any]) -> str:
    words, defaults = _words(value, panel), _defaults(panel)
    return words["text"] if words else formatted(value, defaults["unit"], defaults.get("decimals"))


def _steps(panel: dict[str, Any]) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = (_defaults(panel).get("thresholds") or {}).get("steps") or []
    return steps


def _colour(value: float, panel: dict[str, Any]) -> str:
    if words := _words(value, panel):
        return COLOURS[words["color"]]
    reached = [step["color"] for step in _steps(panel) if step["value"] is None or value >= step["value"]]
    return COLOURS[reached[-1]]


def _number(axes: Axes, panel: dict[str, Any], series: list[Series]) -> None:
    axes.set_axis_off()
    by_name = (panel["options"] or {}).get("textMode") == "name"
    for number, one in enumerate(series):
        text = one.name if by_name else _written(one.values[-1], panel)
        centre = (number + 0.5) / len(series)
        size = min(26.0, 260 / max(len(text), 1) / len(series))
        axes.text(
            centre, 0.5, text, ha="center", va="center", fontsize=size, color=_colour(one.values[-1], panel), transform=axes.transAxes
        )


def _bars(axes: Axes, panel: dict[str, Any], series: list[Series]) -> None:
    values = [one.values[-1] for one in series]
    axes.barh([one.name for one in series], values, color=[_colour(value, panel) for value in values])
    axes.invert_yaxis()
    axes.set_xlim(0, max(*values, 1e-9) * 1.25)
    axes.xaxis.set_visible(False)
    for row, value in enumerate(values):
        axes.text(value, row, f" {_written(value, panel)}", va="center")


def _over_time(axes: Axes, panel: dict[str, Any], series: list[Series]) -> None:
    step = min((after - before for one in series for before, after in pairwise(one.at)), default=0.0)
    for one in series:
        at: list[float] = []
        values: list[float] = []
        for moment, value in zip(one.at, one.values, strict=True):
            if at and moment - at[-1] > 1.5 * step:
                # No line over a time without values.
                at.append(moment)
                values.append(math.nan)
            at.append(moment)
            values.append(value)
        # A single point has no line.
        axes.plot([datetime.fromtimestamp(moment, UTC) for moment in at], values, label=one.name, marker="." if len(at) == 1 else "")  # type: ignore[arg-type]
    limits = _limits(panel)
    for limit, colour in limits:
        axes.axhline(limit, color=colour, linestyle="--", linewidth=1)
    lowest, highest = (end(value for one in series for value in one.values) for end in (min, max))
    axes.set_ylim(min(0.0, 1.1 * lowest), 1.1 * highest if highest > 0 else 1.1 * max((limit for limit, _ in limits), default=1.0))
    locator = AutoDateLocator(maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _written(value, panel)))
    axes.tick_params(labelsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)
    handles, names = axes.get_legend_handles_labels()
    columns = 3 if max(map(len, names)) < 18 else 2
    shown = LEGEND_ROWS * columns
    if len(names) > shown:
        names = [*names[: shown - 1], f"and {len(names) - shown + 1} more"]
    axes.legend(
        handles[:shown], names, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=columns, fontsize=8, frameon=False, borderaxespad=0
    )


def _limits(panel: dict[str, Any]) -> list[tuple[float, str]]:
    custom = _defaults(panel).get("custom") or {}
    if (custom.get("thresholdsStyle") or {}).get("mode") != "dashed":
        return []
    return [(step["value"], COLOURS[step["color"]]) for step in _steps(panel) if step["value"] is not None]


def main() -> int:
    """Write a PNG per dashboard."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=30, help="how far back (default %(default)s)")
    wanted = parser.parse_args()
    prometheus = Prometheus(wanted.prometheus, time.time() - 60 * wanted.minutes, time.time())
    wanted.out.mkdir(parents=True, exist_ok=True)
    empty = []
    for file in sorted(DASHBOARDS.glob("*.json")):
        figure, without = draw(json.loads(file.read_text()), prometheus)
        picture = wanted.out / f"{file.stem}.png"
        figure.savefig(picture)
        sys.stdout.write(f"{picture}\n")
        empty += [f"{file.stem}: {title}" for title in without]
    for panel in empty:
        sys.stderr.write(f"no data: {panel}\n")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
