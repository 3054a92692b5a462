import base64
import builtins
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jedi_sklearn import JEDIEstimator, find_fixed_points
from jedi_sklearn.baselines import ConditionMean
from jedi_sklearn.datasets import make_spike_counts
from jedi_sklearn.plotting import EmbeddingDisplay, Report
from jedi_sklearn.preprocessing import Recording

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

NASTY = '<script>alert("x")</script>--><b>&'


class Reader(HTMLParser):
    """Tags, what they refer to, and the tables of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.references, self.rows, self.texts = [], [], [], []
        self.cell = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                self.references.append(value)
            self.references += re.findall(r"url\(([^)]*)\)", value or "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        self.texts.append(data)
        if self.cell:
            self.rows[-1][-1] += data

    def row(self, first):
        return next(row for row in self.rows if row[0] == first)


def drawings(page):
    """The SVGs that are embedded as images."""
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', page)
    return [base64.b64decode(data).decode() for data in found]


@pytest.fixture(scope="module")
def labels(multitask):
    return np.array([f"{NASTY} {name}" for name in multitask.task[:30]])


@pytest.fixture(scope="module")
def report(fitted, multitask, labels):
    return fitted.report(multitask.X[:30], labels, title=f"Session {NASTY}")


def test_a_report_loads_nothing(report):
    pages = [report.html, *drawings(report.html)]
    assert len(pages) == 5  # loss, free runs, spectra twice
    for page in pages:
        read = Reader(page)
        assert not {"script", "link", "iframe", "object", "embed"} & set(read.tags)
        for reference in read.references:
            assert reference.startswith(("data:", "#")), reference
        style = re.sub(r'="[^"]*"', "", page)
        assert "@import" not in style
        assert not re.search(r"url\((?!#)", style)
    assert not re.search(r"<\?xml|<!DOCTYPE (?!html)", report.html)


def test_labels_and_titles_are_text(report):
    read = Reader(report.html)
    assert f"Session {NASTY}" in read.texts
    assert any(text.startswith(f"trial 7, {NASTY}") for text in read.texts)  # of a point
    assert report.html.count("<b>") == 0 == report.html.count('alert("x")</script>')


def test_numbers_are_those_of_the_estimator(report, fitted, multitask, labels):
    X = multitask.X[:30]
    read, r2 = Reader(report.html), fitted.score_samples(X)
    assert report.score == fitted.score(X) and report.score_name == "R2"
    np.testing.assert_array_equal(report.trial_scores, r2)
    for name, which in [("all", np.ones(30, bool))] + [(x, labels == x) for x in set(labels)]:
        low, middle, high = np.quantile(r2[which], [0.25, 0.5, 0.75])
        numbers = [f"{value:.3f}" for value in (middle, low, high)]
        assert read.row(name) == [name, str(which.sum()), *numbers]
    assert read.row("components per embedding")[1] == "4"
    assert read.row("rank of the RNNs")[1] == "8"
    assert read.row("gradient steps")[1] == f"{fitted.n_iter_} of at most 40"
    assert read.row("converged")[1] == "yes"
    assert read.row("neurons")[1] == "30" and read.row("conditions")[1] == "4"
    assert read.row("max_iter") == ["max_iter", "40"]
    assert read.row("jedi-sklearn")[1]
    assert 'class="changed"><td>max_iter' in report.html.replace("<td >", "<td>")
    assert 'class="changed"><td>solver' not in report.html.replace("<td >", "<td>")
    worst = np.argsort(r2)[0]
    assert read.row(f"trial {worst}, {labels[worst]}")[1] == f"{r2[worst]:.3f}"
    assert any(text.startswith("These are training trials:") for text in read.texts)
    mean = ConditionMean().fit(X, labels).score(X, labels)
    assert any(f"the condition mean: {mean:.3f}" in text for text in read.texts)
    assert not any("Far less" in text or "D2" in text for text in read.texts)

    codes = np.unique(labels, return_inverse=True)[1]
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    decoder = make_pipeline(StandardScaler(), lda)
    E = fitted.transform(X)
    for name, features in (("embeddings", E), ("summed activity of each neuron", X.sum(axis=1))):
        accuracy = np.average(
            cross_val_score(decoder, features, codes, cv=folds),
            weights=[len(test) for _, test in folds.split(E, codes)],
        )
        assert read.row(name)[1] == f"{accuracy:.3f}"
    label = labels[0]
    (points,) = find_fixed_points(fitted.generate_rnns(E[labels == label].mean(axis=0)[None]))
    found = [row[1:] for row in read.rows if row[0] == label and len(row) == 3]
    n = np.bincount(points.n_unstable, minlength=2)
    more = [[k, n[k]] for k in range(2, len(n)) if n[k]]
    assert found == [[str(a), str(b)] for a, b in [n[:2], *more]]


def test_points_can_be_pointed_at():
    E = np.random.default_rng(0).normal(size=(40, 3))
    E[5] *= 1e3  # out of view
    display = EmbeddingDisplay(E, ["a", "b"] * 20)
    svg = display.to_svg([f"<{k}>" for k in range(40)], components=(2, 0))
    spots = re.findall(
        r'<circle class="trial" cx="([\d.]+)" cy="([\d.]+)"[^>]*><title>&lt;(\d+)&gt;<', svg
    )
    assert [int(k) for *_, k in spots] == [k for k in range(40) if k != 5]
    places = np.array([(float(x), float(y)) for x, y, _ in spots])
    # where matplotlib draws the markers
    drawn = re.findall(r'<use xlink:href="[^"]*" x="([-\d.]+)" y="([-\d.]+)"', svg)
    apart = np.linalg.norm(places[:, np.newaxis] - np.array(drawn, dtype=float), axis=2)
    assert apart.min(axis=1).max() < 1  # the radius of a spot is 4.5
    assert len(np.unique(apart.argmin(axis=1))) == 39
    assert not plt.get_fignums()
    with pytest.raises(ValueError, match="one or two components, got three"):
        display.to_svg(components=(0, 1, 2))
    with pytest.raises(ValueError, match="names must name all 40 trials, got 2"):
        display.to_svg(["a", "b"])
    assert not plt.get_fignums()


@pytest.mark.slow
def test_reports_of_other_trials_and_quantities(small, fitted, multitask):
    speed = np.linspace(0, 1, 10)
    read = Reader(fitted.report(multitask.X[30:], speed).html)
    assert "These trials were not all in the fit." in " ".join(read.texts)
    assert [row[0] for row in read.rows if len(row) == 5] == ["condition", "all"]
    assert any(text.startswith(f"trial 2, {speed[2]}") for text in read.texts)
    assert not any(row[0] == "conditions" for row in read.rows)
    X, u = multitask.X[:12], multitask.inputs[:12]
    driven, rare = small(max_iter=5).fit(X, inputs=u), ["a"] * 10 + ["b"] * 2
    report = driven.report(X, rare, inputs=u)
    other = Reader(driven.report(X + 0.1, rare, inputs=u).html)
    assert any("give at least 5 trials of each condition" in text for text in other.texts)
    assert report.score == driven.score(X, inputs=u)
    assert any("fewer than 3 trials" in text for text in Reader(report.html).texts)
    with pytest.raises(ValueError, match="fitted with inputs of"):
        driven.report(X)


def test_other_trials_and_conditions_that_fare_worse(fitted, multitask):
    X, y = multitask.X[:30].copy(), multitask.task[:30]
    rare = y == y[0]
    X[rare] = np.random.default_rng(0).normal(scale=X.std(), size=X[rare].shape)
    text = " ".join(Reader(fitted.report(X, y).html).texts)
    assert "These trials were not all in the fit." in text
    assert f"Far less well described than the rest: {y[0]}. The median R2" in text
    sums = np.zeros(2)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(y, y):
        mean = ConditionMean().fit(X[train], y[train]).predict(X[test], y[test])
        sums += np.square(X[test] - mean).sum(), np.square(X[test] - X.mean(axis=(0, 1))).sum()
    assert f"the condition mean: {1 - sums[0] / sums[1]:.3f}. It is told" in text
    assert "from the other trials of this page (5 folds)" in text


def test_spike_counts(small, multitask):
    X, y = make_spike_counts(multitask, rate=20.0).X[:16], multitask.task[:16]
    report = small(max_iter=10).fit(X, y).report(X[3:], y[3:])
    text = " ".join(Reader(report.html).texts)
    assert "These are training trials:" in text
    assert report.score_name == "D2" and "D2 of single trials is low even for the true" in text
    mean = ConditionMean().fit(X[3:], y[3:]).score(X[3:], y[3:])
    assert f"the condition mean: {mean:.3f}" in text


@pytest.mark.slow
def test_a_recording_brings_what_it_knows(fitted, multitask):
    rec = Recording(
        multitask.X[:30],
        time=0.02 * np.arange(50) - 0.3,
        labels=multitask.task[:30],
        events={"go": 0.0},
        trials=100 + np.arange(30),
        align="go",
    )
    report = fitted.report(rec)
    read = Reader(report.html)
    assert read.row("time")[1] == "-0.3 to 0.68 s"
    assert any(text.startswith(f"trial 107, {multitask.task[7]}") for text in read.texts)
    assert any("<!-- time from go (s) -->" in svg for svg in drawings(report.html))


@pytest.mark.slow
def test_what_a_fit_complained_of_is_on_the_page(multitask, tmp_path):
    X = multitask.X[:16]
    est = JEDIEstimator(4, 8, dt=0.02, max_iter=20, tol=1e-9, random_state=0)
    with pytest.warns(ConvergenceWarning) as said:
        est.fit(X)
    est.save(tmp_path / "est.npz")
    loaded, far = JEDIEstimator.load(tmp_path / "est.npz"), "times as large as the training data"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.warns(UserWarning, match=far):
            read = Reader(loaded.report(20 * X).html)
    assert str(said[0].message) in read.texts
    assert any(far in text for text in read.texts)
    assert read.row("converged")[1] == "no"


def test_a_report_is_saved_and_shown(report, tmp_path):
    path = report.save(tmp_path / "fit.html")
    assert path.read_text(encoding="utf-8") == report.html
    (shown,) = [v for t, v in _frames(report._repr_html_()) if t == "srcdoc"]
    assert shown == report.html
    assert repr(report).startswith("Report(R2 0.") and "30 trials" in repr(report)
    assert not plt.get_fignums()


def _frames(html):
    class Frames(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.extend(attributes if tag == "iframe" else [])

    found = []
    Frames().feed(html)
    return found


def test_without_matplotlib_the_error_says_what_to_install(fitted, multitask, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError("no matplotlib")
        return real(name, *args, **kwargs)

    with pytest.raises(NotFittedError):
        JEDIEstimator().report(multitask.X)
    with pytest.raises(TypeError, match="Expected a fitted JEDIEstimator, got str"):
        Report.from_estimator("x", multitask.X)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r'pip install "jedi-sklearn\[plot\]"'):
        fitted.report(multitask.X)
