"""Which examples the gallery runs, in which order, and where their figures go."""

import os
import re
import tempfile
from pathlib import Path


def runnable(folder):
    """Pattern of the examples whose recordings, if they need any, are in JEDI_DATA_DIR.

    The others are shown without output.
    """
    data = os.environ.get("JEDI_DATA_DIR")
    names = []
    for path in sorted(folder.glob("plot_*.py")):
        source = path.read_text(encoding="utf-8")
        needed = re.findall(r'"(\w+\.npz)"', source) if "JEDI_DATA_DIR" in source else []
        absent = [name for name in needed if not data or not (Path(data) / name).exists()]
        if absent:
            print(f"not run: {path.name} ({', '.join(absent)} is not in JEDI_DATA_DIR)")
        else:
            names.append(re.escape(path.name))
    return f"({'|'.join(names)})$"


def quickstart_first(filename):
    """Key by which examples are sorted."""
    return filename != "plot_quickstart.py", filename


def figure_elsewhere(gallery_conf, script_vars):
    """Arguments of an example: what it saves goes to a folder for temporary files."""
    name = Path(script_vars["src_file"]).with_suffix(".png").name
    return ["--output", str(Path(tempfile.gettempdir()) / name)]
