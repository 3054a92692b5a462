"""Tables, targets, and the record of a run."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import scipy
import sklearn
import torch

import jedi_sklearn

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


@dataclass
class Table:
    """Rows (dicts) under columns, with mean, min and SD below.

    A column is a key of COLUMNS, or (key, heading, format).
    """

    columns: list
    rows: list
    title: str = ""
    summarise: bool = True

    def __post_init__(self):
        self.columns = [(c, *COLUMNS[c]) if isinstance(c, str) else c for c in self.columns]

    def summary(self):
        """Mean, min, max and SD of each numeric column but the first."""
        out = {}
        for key, _, spec in self.columns[1:]:
            values = [row.get(key) for row in self.rows]
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

    def cells(self):
        """Heading and rows as text."""
        body = [[_cell(row.get(key), spec) for key, _, spec in self.columns] for row in self.rows]
        if self.summarise and len(self.rows) > 1:
            summary = self.summary()
            for name in ("mean", "min", "sd"):
                line = ["SD" if name == "sd" else name]
                for key, _, spec in self.columns[1:]:
                    value = summary[key][name] if key in summary else None
                    line.append(_cell(value, spec.lstrip("+") if name == "sd" else spec))
                body.append(line)
        return [heading for _, heading, _ in self.columns], body

    def text(self):
        """Aligned columns."""
        heading, body = self.cells()
        widths = [max(map(len, column)) for column in zip(heading, *body, strict=True)]
        lines = [
            "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True))
            for row in (heading, *body)
        ]
        lines.insert(1, "  ".join("-" * w for w in widths))
        return "\n".join([self.title] * bool(self.title) + lines)

    def markdown(self):
        """Markdown table."""
        heading, body = self.cells()
        lines = ["| " + " | ".join(row) + " |" for row in (heading, *body)]
        lines.insert(1, "|" + " ---: |" * len(heading))
        return "\n".join([f"{self.title}\n"] * bool(self.title) + lines)


def _cell(value, spec):
    if value is None:
        return "-"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if spec == "d" and value != int(value):  # the mean of a count
        spec = ".1f"
    return format(int(value) if spec == "d" else value, spec)


@dataclass
class Result:
    """What a section measured: tables, notes that say what a number means, and targets."""

    title: str
    tables: list
    notes: list = field(default_factory=list)
    settings: dict = field(default_factory=dict)
    targets: list = field(default_factory=list)
    extra: dict = field(default_factory=dict)  # for the JSON file only

    def target(self, text, value, met, spec=".4f"):
        """Note a target, what was reached (a number or words), and whether that is enough."""
        reached = value if isinstance(value, str) else format(value, spec)
        self.targets.append({"target": text, "reached": reached, "met": bool(met)})

    def _targets(self):
        columns = [("target", "target", "s"), ("reached", "reached", "s"), ("met", "met", "s")]
        return Table(columns, self.targets, summarise=False)

    def text(self):
        """For the terminal."""
        parts = [f"== {self.title}", *self.notes, *(t.text() for t in self.tables if t.rows)]
        return "\n\n".join(parts + [self._targets().text()] * bool(self.targets)) + "\n"

    def markdown(self):
        """For the documentation."""
        parts = [f"## {self.title}", *self.notes]
        if self.settings:
            listed = ", ".join(f"`{k}={v!r}`" for k, v in self.settings.items())
            parts.append(f"Settings: {listed}.")
        parts += [t.markdown() for t in self.tables if t.rows]
        return "\n\n".join(parts + [self._targets().markdown()] * bool(self.targets)) + "\n"

    def record(self):
        """For the JSON file."""
        return {
            "title": self.title,
            "settings": self.settings,
            "notes": self.notes,
            "tables": [
                {"title": t.title, "rows": t.rows, "summary": t.summary() if t.summarise else {}}
                for t in self.tables
            ],
            "targets": self.targets,
            **self.extra,
        }


def environment():
    """Versions, processor and commit of a run."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC",
        "commit": _commit(),
        "cpu": _processor(),
        "cpu_count": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "jedi-sklearn": jedi_sklearn.__version__,
            **{m.__name__: m.__version__ for m in (torch, np, scipy, sklearn, joblib)},
        },
    }


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _commit():
    def git(*words):
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "../jedi_sklearn")
        return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
