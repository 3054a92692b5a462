"""Doctests of this folder are those of its pages, not of what Sphinx reads or writes."""

collect_ignore_glob = ["*.py", "_*", "auto_examples", "api/generated"]
