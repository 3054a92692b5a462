"""Runs sections one after the other, and keeps what each found in a JSON file of its own."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import time
import traceback
from pathlib import Path

import joblib
import numpy as np
import scipy
import sklearn
import torch
from threadpoolctl import threadpool_limits

import jedi_sklearn

from ._common import warm_up
from ._report import Skipped

ELSEWHERE = ("sections", "output", "report", "pages")  # options that change no number


def run_sections(sections, options, parser):
    """Run sections by name; return the names of those that failed."""
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)
    warm_up()
    options.output.mkdir(parents=True, exist_ok=True)
    failed = []
    for name, section in sections.items():
        print(f"\n{command_line(name, options, parser)}", flush=True)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        start = time.perf_counter()
        try:
            result = section(options)
        except Skipped as reason:
            print(f"skipped: {reason}")
            continue
        except Exception:  # a long run keeps its other sections
            traceback.print_exc()
            failed.append(name)
            continue
        print(result.text(), flush=True)
        record = {
            "section": name,
            "command": command_line(name, options, parser),
            **environment(),
            "seeds": options.seeds,
            "quick": options.quick,
            "seconds": round(time.perf_counter() - start, 1),
            "load_before": load,
            **result.record(),
        }
        path = options.output / f"{name}.json"
        path.write_text(json.dumps(_plain(record), indent=1) + "\n", encoding="utf-8")
    return failed


def command_line(name, options, parser):
    """The command that repeats this section, without folders of this machine."""
    words = ["python -m benchmarks --sections", name]
    for key, value in vars(options).items():
        if key in ELSEWHERE or value == parser.get_default(key):
            continue
        words.append("--" + key.replace("_", "-"))
        if key == "data_dir":
            words.append("$JEDI_DATA_DIR")
        elif isinstance(value, dict):
            words.append(shlex.quote(json.dumps(value)))
        elif isinstance(value, list):
            words += map(str, value)
        elif value is not True:
            words.append(shlex.quote(str(value)))
    return " ".join(words)


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
    """The last commit that changed the package."""

    def git(*words):
        command = ["git", "-C", str(Path(__file__).parent), *words, "--", "../jedi_sklearn"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = " with changes" if git("status", "--porcelain") else ""
        return git("log", "-1", "--format=%h") + changed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _plain(value):
    """The same without numpy, and with as many digits of a number as anyone reads."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    if isinstance(value, Path):
        return value.name
    return value


def add_common_options(parser):
    """Options of all sections."""
    add = parser.add_argument
    add(
        "--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="seeds of teachers or trials"
    )
    add("--threads", type=int, default=1, help="threads of torch and BLAS")
    add("--params", type=json.loads, default={}, help="estimator arguments on top, as JSON")
    add("--data-dir", default=os.environ.get("JEDI_DATA_DIR"), help="folder of the recordings")
    add("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")


def make_parser(doc, **arguments):
    """Parser whose help has the lines of a docstring as they are, and defaults."""

    class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        pass

    return argparse.ArgumentParser(
        prog="python -m benchmarks", description=doc, formatter_class=Formatter, **arguments
    )
