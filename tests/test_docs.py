"""Facts about the documentation that need no Sphinx: length, code, equations, links, examples."""

import ast
import os
import re
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import jedi_sklearn

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
GENERATED = ("_build", "auto_examples", "generated")

if not (DOCS / "conf.py").exists():
    pytest.skip("not in a checkout", allow_module_level=True)

PAGES = [path for path in sorted(DOCS.rglob("*.md")) if not set(GENERATED) & set(path.parts)]
OURS = [path for path in PAGES if "paper" not in path.parts]  # of the site


def test_no_page_is_long():
    words = {path.name: len(path.read_text(encoding="utf-8").split()) for path in OURS}
    assert {name: n for name, n in words.items() if n > 2000} == {}
    assert sum(words.values()) > 20_000


def scripts():
    """The blocks of Python in pages that are not doctests, by page."""
    return {
        path.name: block
        for path in OURS
        for block in re.findall(
            r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        if not block.startswith(">>> ")
    }


def test_python_in_pages_runs_as_doctest():
    """Scripts that start processes of their own are the exceptions; the next test runs them."""
    assert scripts().keys() == {"parallel.md", "scaling.md"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "run"),
    [
        ("parallel.md", []),
        ("scaling.md", TORCHRUN),
    ],
)
def test_scripts_of_pages_run(page, run, tmp_path):
    if page == "parallel.md":
        pytest.importorskip("distributed")
    setup = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from jedi_sklearn import JEDIEstimator
from jedi_sklearn.datasets import make_multitask
data = make_multitask(n_trials=32, n_neurons=12, n_timesteps=20, dt=0.02, random_state=0)
X, conditions = data.X, data.task
classifier = make_pipeline(JEDIEstimator(2, 4, dt=0.02, max_iter=5, tol=1), LogisticRegression())
"""
    script = scripts()[page].replace("random_state=0)", "random_state=0, dt=0.02, max_iter=5)")
    (tmp_path / "fit.py").write_text(setup + script, encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, *run, "fit.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.npz").exists() == (page == "scaling.md")


def equations():
    """From each number in the table of docs/model.md to the page that it names."""
    table = (DOCS / "model.md").read_text(encoding="utf-8").split("**Notation.**")[0]
    for numbers, page in re.findall(r"^\| ([\d', ]+) \| .* \| (.+) \|$", table, re.MULTILINE):
        link = re.search(r"\((.+)\)", page)
        for number in numbers.split(", "):
            yield number, DOCS / (link[1] if link else "model.md")


def test_the_table_of_equations_is_true():
    pages = dict(equations())
    for number, path in pages.items():
        assert re.search(rf"^    \({number}\) ", path.read_text(encoding="utf-8"), re.MULTILINE)
    for path in (ROOT / "jedi_sklearn").rglob("*.py"):
        for pointer in re.findall(r"\beq\. ([\d', -]*\d'?)", path.read_text(encoding="utf-8")):
            assert set(re.findall(r"\d+'?", pointer)) <= set(pages), path.name


def test_every_public_module_is_in_the_reference():
    """The build compares the names; here are the modules, whose pages list their names."""
    index = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   (jedi_sklearn\S*)$", index, flags=re.MULTILINE))
    for module in walk_packages(jedi_sklearn.__path__, "jedi_sklearn."):
        if "._" not in module.name and module.name not in listed:
            assert set(import_module(module.name).__all__) <= set(jedi_sklearn.__all__)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_of_the_front_page_lead_somewhere(name):
    """Those between pages are Sphinx's to check."""
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_examples_without_their_recording_are_shown_and_not_run(monkeypatch, tmp_path):
    runnable = runpy.run_path(str(DOCS / "_ext" / "gallery.py"))["runnable"]
    examples = {path.name for path in (ROOT / "examples").glob("plot_*.py")}

    def run():
        return {name for name in examples if re.search(runnable(ROOT / "examples"), name)}

    monkeypatch.delenv("JEDI_DATA_DIR", raising=False)
    simulated = run()
    assert {"plot_quickstart.py", "plot_choosing_sizes.py"} <= simulated < examples
    monkeypatch.setenv("JEDI_DATA_DIR", str(tmp_path))
    assert run() == simulated
    (tmp_path / "center_out_m1_trials.npz").touch()
    assert run() - simulated == {"plot_center_out.py", "plot_preparation_execution.py"}


def literals():
    """All text in the package's code, string literals that stand side by side joined."""
    found = []
    for path in (ROOT / "jedi_sklearn").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "..." for p in node.values]
                found.append("".join(parts))
    return "\n".join(found)


def test_messages_are_quoted_as_they_are():
    page = (DOCS / "how_to" / "messages.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `\w+(?:Error|Warning)`: ([^|]+) \|", page, flags=re.MULTILINE)
    text, named = literals().lower(), r"\.\.\.|; |: |s is |\(n_.*\)|\b(?:R2|X|NaN|inputs)\b"
    parts = [part.strip(" .,`?").lower() for row in rows for part in re.split(named, row)]
    wrong = [part for part in parts if part not in text]
    assert len(rows) > 20 and wrong == ["found array with dim 3 (from `standardscaler`)"]
