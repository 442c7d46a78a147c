"""The results as one Markdown table."""

from collections.abc import Iterator

from .peers import OURS
from .results import Goal, Line, Results

__all__ = ["markdown", "number"]

HEAD = ("row", "work", "unit", "who", "median", "min - max", "ours ÷ theirs", "to reach")


def markdown(results: Results) -> str:
    """The machine, the table and the notes."""
    parts = ["; ".join(f"{name}: {value}" for name, value in results.machine.items())]
    rounds = "one round" if results.rounds == 1 else f"medians of {results.rounds} alternating rounds"
    parts.append(f"{rounds[0].upper()}{rounds[1:]}.")
    rows = [HEAD, ("---",) * len(HEAD)] + [row for line in results.lines for row in _rows(line)]
    parts.append("\n".join("| " + " | ".join(row) + " |" for row in rows))
    if results.notes:
        parts.append("\n".join(f"- {note}" for note in results.notes))
    return "\n\n".join(parts)


def number(value: float | None) -> str:
    """Three digits that mean something, and a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _rows(line: Line) -> "Iterator[tuple[str, ...]]":
    """Ours first, then all others in the order in which they were measured first."""
    for who in sorted(line.samples, key=lambda who: who != OURS):
        samples = line.samples[who]
        against = None if who == OURS else who
        goals = [goal for goal in line.goals if goal.against == against]
        ratio = "" if against is None else number(line.ratio(against))
        spread = f"{number(min(samples))} - {number(max(samples))}"
        yield (line.row, line.work, line.unit, who, number(line.median(who)), spread, ratio, _goals(line, goals))


def _goals(line: Line, goals: list[Goal]) -> str:
    sign = "≤" if line.less_is_better else "≥"
    verdicts = {True: "reached", False: "missed", None: "unknown"}
    return "; ".join(f"{sign} {number(goal.limit)}: {verdicts[line.reached(goal)]}" for goal in goals)
