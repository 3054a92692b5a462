"""Public docstrings follow the numpydoc standard, from which the reference pages are made."""

import importlib
import inspect

import pytest

validate = pytest.importorskip("numpydoc.validate").validate

MODULES = (
    "jedi_sklearn",
    "jedi_sklearn.baselines",
    "jedi_sklearn.datasets",
    "jedi_sklearn.evaluation",
    "jedi_sklearn.metrics",
    "jedi_sklearn.plotting",
    "jedi_sklearn.preprocessing",
)
EXCLUDED = {
    "ES01": "a summary line is often enough",
    "SA01": "not every object has an obvious relative",
    "EX01": "the example of a class shows its methods",
    "GL01": "docstrings start on the line of their opening quotes, as PEP 257 has it",
    "GL02": "one-line docstrings end on the line of their opening quotes",
}


def public_names():
    """Each public object and each public method or property, inherited ones once."""
    names = {}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in (name for name in module.__all__ if not name.startswith("__")):
            item = getattr(module, name)
            names.setdefault(item, f"{module_name}.{name}")
            for member in dir(item) if inspect.isclass(item) else ():
                found = inspect.getattr_static(item, member)
                function = getattr(found, "fget", None) or getattr(found, "__func__", found)
                ours = str(getattr(function, "__module__", None)).startswith("jedi_sklearn")
                if ours and inspect.isfunction(function) and not member.startswith("_"):
                    names.setdefault(function, f"{module_name}.{name}.{member}")
    return sorted(names.values())


@pytest.mark.parametrize("name", public_names())
def test_docstring_is_complete(name):
    errors = {code: text for code, text in validate(name)["errors"] if code not in EXCLUDED}
    assert not errors, errors


@pytest.mark.parametrize("module_name", MODULES)
def test_each_class_and_function_has_an_example(module_name):
    module = importlib.import_module(module_name)
    items = {name: getattr(module, name) for name in module.__all__ if not name.startswith("__")}
    assert [name for name, item in items.items() if ">>>" not in inspect.getdoc(item)] == []
