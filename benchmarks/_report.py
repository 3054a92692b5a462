"""What a section found: tables, targets and figures, as text, JSON and Markdown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

import numpy as np

# Heading and format of what several tables show, by the key in their rows.
COLUMNS = {
    "seed": ("teacher seed", "d"),
    "train_r2": ("training R2", ".4f"),
    "r2": ("held-out R2", ".4f"),
    "teacher_r2": ("teacher R2", ".4f"),
    "trial_pca_r2": ("PCA of trials R2", ".4f"),
    "sample_pca_r2": ("PCA of samples R2", ".4f"),
    "condition_mean_r2": ("condition mean R2", ".4f"),
    "accuracy": ("accuracy", ".3f"),
    "fit_seconds": ("fit s", ".1f"),
    "transform_seconds": ("transform s", ".1f"),
    "converged": ("converged", "s"),
    "unconverged": ("trials not converged", "d"),
}
REPEATS = ("seed", "split", "repeat", "session", "direction")  # what rows of one kind differ in
MAX_COLUMNS = 9  # of a page; more quantities are read downwards


class Skipped(Exception):
    """A section cannot be run here; the text says why."""


@dataclass
class Table:
    """Rows (dicts) under columns.

    A column is a key of COLUMNS, or (key, heading, format). Rows that agree in the columns `by`
    are repetitions (seeds, splits), of which pages show mean and SD. Without `summarise` each row
    speaks for itself. One that is not `shown` is there for a figure.
    """

    columns: list
    rows: list
    title: str = ""
    summarise: bool = True
    by: tuple = ()
    shown: bool = True

    def __post_init__(self):
        self.columns = [(c, *COLUMNS[c]) if isinstance(c, str) else tuple(c) for c in self.columns]
        self.by = tuple(self.by)

    @property
    def measured(self):
        """Columns that hold what was measured."""
        return [c for c in self.columns if c[0] not in (*self.by, *REPEATS)]

    def groups(self):
        """Rows that are repetitions of each other, by what they agree in."""
        groups = {}
        for row in self.rows:
            groups.setdefault(tuple(row.get(key) for key in self.by), []).append(row)
        return groups

    def summary(self, **where):
        """Mean, min, max and SD of each numeric column, of the rows that agree with `where`."""
        rows = [row for row in self.rows if all(str(row.get(k)) == str(where[k]) for k in where)]
        out = {}
        for key, _, spec in self.measured:
            values = [row.get(key) for row in rows]
            numbers = [v for v in values if isinstance(v, (int, float)) and v == v]
            if spec == "s" or not numbers or isinstance(numbers[0], bool):
                continue
            out[key] = {
                "mean": float(np.mean(numbers)),
                "min": float(np.min(numbers)),
                "max": float(np.max(numbers)),
                "sd": float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None,
                "n": len(numbers),
            }
        return out

    def _cells(self):
        """Heading and all rows as text."""
        body = [[_cell(row.get(key), spec) for key, _, spec in self.columns] for row in self.rows]
        return [heading for _, heading, _ in self.columns], body

    def text(self):
        """Aligned columns of all rows, and of their summary."""
        heading, body = self._cells()
        if self.summarise and len(self.rows) > 1:
            summary = self.summary()
            for name in ("mean", "min", "sd"):
                cells = [_statistic(summary, key, name, spec) for key, _, spec in self.columns[1:]]
                body.append([name, *cells])
        widths = [max(map(len, column)) for column in zip(heading, *body, strict=True)]
        lines = [
            "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True))
            for row in (heading, *body)
        ]
        lines.insert(1, "  ".join("-" * w for w in widths))
        return "\n".join([self.title] * bool(self.title) + lines)

    def markdown(self):
        """Mean and SD of repetitions, or each row where rows are none."""
        title = [f"{self.title[:1].upper()}{self.title[1:]}\n"] * bool(self.title)
        if not self.summarise:
            rows = [
                [_cell(row.get(key), spec) for key, _, spec in self.columns] for row in self.rows
            ]
            return "\n".join([*title, _lines([h for _, h, _ in self.columns], rows)])
        if not self.by:
            return "\n".join([*title, _spread(self)])
        names = [[str(value) for value in key] for key in self.groups()]
        columns = [
            (heading, [_mean(rows, key, spec) for rows in self.groups().values()])
            for key, heading, spec in self.measured
        ]
        columns = [(heading, cells) for heading, cells in columns if any(cells)]
        heads = [next(h for k, h, _ in self.columns if k == key) for key in self.by]
        if len(columns) + len(heads) <= MAX_COLUMNS:
            rows = [[*name, *(cells[i] for _, cells in columns)] for i, name in enumerate(names)]
            return "\n".join([*title, _lines([*heads, *(h for h, _ in columns)], rows)])
        downwards = [[heading, *cells] for heading, cells in columns]
        heading = [", ".join(heads), *(", ".join(name) for name in names)]
        return "\n".join([*title, _lines(heading, downwards)])


def _spread(table):
    """Mean, SD and range of each quantity, read downwards."""
    summary = table.summary()
    rows = [
        [heading, *(_statistic(summary, key, name, spec) for name in ("mean", "sd", "min", "max"))]
        for key, heading, spec in table.measured
        if key in summary
    ]
    yes = [
        [heading, _mean(table.rows, key, spec), "", "", ""]
        for key, heading, spec in table.measured
        if key not in summary and isinstance(table.rows[0].get(key), bool)
    ]
    return _lines([f"n = {len(table.rows)}", "mean", "SD", "least", "greatest"], rows + yes)


def side_by_side(tables):
    """Tables of the same quantities as one, a column of means and SDs for each."""
    body = []
    for key, heading, spec in tables[0].measured:
        cells = [_mean(table.rows, key, spec) for table in tables]
        body += [[heading, *cells]] * any(cells)
    return _lines(["", *(table.title for table in tables)], body)


def _mean(rows, key, spec):
    """Mean and SD of repetitions as text, how many are true, or words that all rows share."""
    values = [row.get(key) for row in rows if row.get(key) is not None]
    if not values:
        return ""
    if isinstance(values[0], bool):
        return f"{sum(values)} of {len(values)}"
    if isinstance(values[0], str):
        return values[0] if len(set(values)) == 1 else ""
    text = _cell(float(np.mean(values)), spec)
    if len(values) > 1:
        text += f" ({_cell(float(np.std(values, ddof=1)), spec.lstrip('+'))})"
    return text


def _lines(heading, rows):
    """Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (heading, *rows)]
    lines.insert(1, "| --- |" + " ---: |" * (len(heading) - 1))
    return "\n".join(lines)


def _statistic(summary, key, name, spec):
    return (
        _cell(summary[key][name], spec.lstrip("+") if name == "sd" else spec)
        if key in summary
        else "-"
    )


def _cell(value, spec):
    if value is None:
        return "-"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if spec == "d":
        return str(int(value)) if value == int(value) else format(value, ".1f")  # mean of counts
    return format(value, spec)


@dataclass
class Figure:
    """How a table is drawn: what its rows show along x, a panel for each y, a line for each `by`.

    `y` has pairs of a key and its label. Numbers along x are a scale, words are places. With
    `identity` a line shows where y equals x; `points` are drawn one by one, without means.
    """

    name: str
    x: str
    y: list
    by: str = ""
    table: int = 0
    x_label: str = ""
    log: bool = False
    identity: bool = False
    points: bool = False
    caption: str = ""


@dataclass
class Result:
    """What a section measured: tables, notes that say what a number means, targets, figures."""

    title: str
    tables: list
    notes: list = field(default_factory=list)
    settings: dict = field(default_factory=dict)
    targets: list = field(default_factory=list)
    figures: list = field(default_factory=list)
    extra: dict = field(default_factory=dict)  # for the JSON file only

    def target(self, text, value, met, spec=".4f"):
        """Note a target, what was reached (a number or words), and whether that is enough."""
        reached = value if isinstance(value, str) else format(value, spec)
        self.targets.append({"target": text, "reached": reached, "met": bool(met)})

    def _targets(self):
        columns = [("target", "target", "s"), ("reached", "reached", "s"), ("met", "met", "s")]
        return Table(columns, self.targets, summarise=False)

    def _shown(self):
        return [table for table in self.tables if table.rows and table.shown]

    def text(self):
        """For the terminal."""
        parts = [f"== {self.title}", *self.notes, *(t.text() for t in self._shown())]
        return "\n\n".join(parts + [self._targets().text()] * bool(self.targets)) + "\n"

    def markdown(self):
        """Notes, tables and targets for a page."""
        parts = list(self.notes)
        if self.settings:
            listed = ", ".join(f"`{k}={v!r}`" for k, v in self.settings.items())
            parts.append(f"Settings: {listed}.")
        tables = self._shown()
        alike = {tuple(table.columns) for table in tables}
        plain = all(table.summarise and not table.by and table.title for table in tables)
        if len(tables) > 1 and len(alike) == 1 and plain:
            parts.append(side_by_side(tables))
        elif len(tables) == 1:
            parts.append(replace(tables[0], title="").markdown())
        else:
            parts += [table.markdown() for table in tables]
        return "\n\n".join(parts + [self._targets().markdown()] * bool(self.targets))

    def record(self):
        """For the JSON file."""
        return asdict(self)

    @classmethod
    def from_record(cls, record):
        """What was measured, from a JSON file."""
        parts = {key: record[key] for key in cls.__dataclass_fields__}
        parts["tables"] = [Table(**table) for table in parts["tables"]]
        parts["figures"] = [Figure(**figure) for figure in parts["figures"]]
        return cls(**parts)
