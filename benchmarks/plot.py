"""The curves of growth as pictures, one for each kind of work."""

import statistics
from pathlib import Path
from typing import Any

from .results import Line
from .rows.growth import CURVES

__all__ = ["plot"]

Curve = list[tuple[int, list[float]]]


def plot(lines: list[Line], folder: Path) -> list[Path]:
    """Draw what there is of the row ``growth``; return the files. Needs matplotlib."""
    paths = []
    for name, unit in CURVES.items():
        curves = _curves(lines, name)
        if curves:
            paths.append(folder / f"growth-{name}.png")
            _draw(name, unit, curves, paths[-1])
    return paths


def _curves(lines: list[Line], name: str) -> dict[str, Curve]:
    """By who took part: the number of connections and the samples there."""
    curves: dict[str, Curve] = {}
    for line in lines:
        curve, _, rest = line.work.partition(", ")
        if line.row == "growth" and curve == name:
            count = int(rest.split()[0].replace(",", ""))
            for who, samples in line.samples.items():
                curves.setdefault(who, []).append((count, samples))
    return curves


def _draw(name: str, unit: str, curves: dict[str, Curve], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for who, curve in curves.items():
        _draw_curve(axes, who, curve)
    axes.set(title=name, xlabel="connections", ylabel=unit, xscale="log")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_curve(axes: Any, who: str, curve: Curve) -> None:
    """The medians as a line, from the least to the most as a bar."""
    counts = [count for count, _ in curve]
    middles = [statistics.median(samples) for _, samples in curve]
    below = [middle - min(samples) for middle, (_, samples) in zip(middles, curve, strict=False)]
    above = [max(samples) - middle for middle, (_, samples) in zip(middles, curve, strict=False)]
    axes.errorbar(counts, middles, yerr=[below, above], marker="o", capsize=3, label=who)
