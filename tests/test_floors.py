"""The versions said to be the oldest are those that the tests with the oldest versions use."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[1]
UNTESTED = {"torch"}  # constraints-oldest.txt says why

if not (ROOT / "constraints-oldest.txt").exists():
    pytest.skip("not in a clone of the repository", allow_module_level=True)


def versions(lines, relation):
    """Name and version of each line that says `name relation version`."""
    found = (re.match(rf"([\w-]+){relation}([\d.]+)", line) for line in lines)
    return {match[1]: Version(match[2]) for match in found if match}


def test_the_oldest_versions_tested_are_the_floors_of_the_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["plot"]
    floors = versions(wanted, ">=")
    oldest = versions((ROOT / "constraints-oldest.txt").read_text().splitlines(), "==")
    assert len(floors) == len(wanted)
    assert {name: oldest[name] for name in floors if name not in UNTESTED} == {
        name: floor for name, floor in floors.items() if name not in UNTESTED
    }
    assert all(oldest[name] >= floors[name] for name in UNTESTED)
