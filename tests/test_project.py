"""What files outside the package say twice is the same in both."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

if not (ROOT / ".ci" / "run").exists():
    pytest.skip("not in a clone of the repository", allow_module_level=True)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_hooks_run_the_checks_of_ci():
    stages = dict(re.findall(r"\bstage (\w+) (.+)$", read(".ci/run"), flags=re.MULTILINE))
    hooks = re.findall(r"name: (\w+)\n\s+entry: (.+)$", read(".pre-commit-config.yaml"), re.M)
    assert [name for name, _ in hooks] == ["lint", "format", "types", "spelling"]
    assert hooks == [(name, stages[name]) for name, _ in hooks]


def test_the_citation_is_of_this_version():
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert re.search(r"^version: (.+)$", read("CITATION.cff"), flags=re.MULTILINE)[1] == version
    assert f"version = {{{version}}}" in read("README.md")
    newest = re.search(r"^## (\S+)", read("CHANGELOG.md"), flags=re.MULTILINE)[1]
    assert newest == version


def test_the_support_policy_names_the_floors_of_the_metadata():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    wanted = [f"python{project['requires-python']}", *project["dependencies"]]
    wanted += project["optional-dependencies"]["plot"]
    floors = {tuple(requirement.lower().split(">=")) for requirement in wanted}
    stated = re.findall(r"^\| (\S+) \| ([\d.]+) \|", read("CONTRIBUTING.md"), flags=re.MULTILINE)
    assert {(name.lower(), version) for name, version in stated} == floors
