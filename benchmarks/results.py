"""What was measured: lines of figures, the goals that they are held against, and all of a run as JSON."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .peers import OURS

__all__ = ["Goal", "Line", "Results"]


class Goal(NamedTuple):
    """What to reach: our figure over that of ``against``, or our figure itself where that is ``None``."""

    against: str | None
    limit: float


@dataclass
class Line:
    """One thing that was measured, of all who took part.

    ``samples`` has a list of figures, one a round, for each who took part. More is better, unless ``less_is_better``;
    goals are least values then, and greatest ones else.
    """

    row: str
    work: str
    unit: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    less_is_better: bool = False

    def add(self, who: str, figure: float) -> None:
        """Note one round's figure."""
        self.samples.setdefault(who, []).append(figure)

    def median(self, who: str) -> float | None:
        """The median of somebody's rounds; ``None`` where there are none."""
        return statistics.median(self.samples[who]) if self.samples.get(who) else None

    def ratio(self, who: str | None) -> float | None:
        """Our figure over somebody's; over nobody's it is our figure. ``None`` where one is missing, or nothing."""
        ours = self.median(OURS)
        theirs = 1.0 if who is None else self.median(who)
        return ours / theirs if ours is not None and theirs else None

    def reached(self, goal: Goal) -> bool | None:
        """Tell whether a goal is reached; ``None`` where nobody can tell."""
        ratio = self.ratio(goal.against)
        if ratio is None:
            return None
        return ratio <= goal.limit if self.less_is_better else ratio >= goal.limit

    def variant(self, who: str, how: str) -> "Line":
        """Take somebody's figures out into a line of their own, as ours, with the same others beside them."""
        samples = {OURS: self.samples.pop(who, [])}
        samples.update((name, figures) for name, figures in self.samples.items() if name != OURS)
        return Line(self.row, f"{self.work}; {how}", self.unit, samples, self.goals, self.less_is_better)


@dataclass
class Results:
    """A whole run. ``notes`` are sentences: what is missing, where the generator was the limit."""

    machine: dict[str, str]
    rounds: int
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read what ``save`` wrote."""
        values: dict[str, Any] = json.loads(path.read_text())
        lines = [Line(**{**line, "goals": [Goal(*goal) for goal in line["goals"]]}) for line in values.pop("lines")]
        return cls(**values, lines=lines)
