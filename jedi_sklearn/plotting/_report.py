"""What is there to say of a fit, on one page that can be kept and sent: `Report`."""

from __future__ import annotations

import platform
import warnings
from datetime import datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .. import __version__
from .._fit import free_run_r2
from .._torch import isolated
from .._validation import (
    OLD_NAMES,
    check_conditions,
    check_inputs_of_trials,
    check_trials,
    setting,
    warn_user,
)
from ..evaluation._answers import mean_rates
from ..evaluation._comparison import accuracy_interval
from ..fixed_points import find_fixed_points
from ..preprocessing import Recording
from ..preprocessing._recording import check_events, time_axis
from ._colours import PALETTE
from ._common import check_jedi, import_pyplot, labels_of, make_axes, time_of
from ._embedding import EmbeddingDisplay
from ._free_run import FreeRunDisplay
from ._html import embed_figure, embed_svg, frame, page, paragraphs, section, table
from ._spectrum import EigenspectrumDisplay

__all__ = ["Report"]

MOST_LABELS = 40  # rows of a table that are read
MOST_SEARCHES = 24  # conditions of which fixed points are searched for
FOLDS, CONFIDENCE = 5, 0.95
WORST = 5
PACKAGES = ("scikit-learn", "torch", "numpy", "scipy", "matplotlib")


class Report:
    """What a fit says of trials, as one HTML page without anything outside of it.

    It is made by :meth:`JEDIEstimator.report <jedi_sklearn.JEDIEstimator.report>`, or
    :meth:`from_estimator`. A notebook shows it; :meth:`save` writes it.

    Parameters
    ----------
    html : str
        The whole page.
    score : float
        R2 (of spike counts D2) of all trials, as from ``est.score``.
    trial_scores : ndarray of shape (n_trials,)
        That of each trial, as from ``est.score_samples``.
    score_name : {"R2", "D2"}

    Examples
    --------
    >>> from jedi_sklearn import JEDIEstimator
    >>> from jedi_sklearn.datasets import make_multitask
    >>> data = make_multitask(24, n_neurons=12, n_timesteps=30, dt=0.02, random_state=0)
    >>> est = JEDIEstimator(3, 6, dt=0.02, max_iter=20, tol=1.0, random_state=0)
    >>> report = est.fit(data.X, data.task).report(data.X, data.task)
    >>> report.score == est.score(data.X)
    True
    >>> report.html.startswith("<!DOCTYPE html>")
    True
    """

    def __init__(self, html, score, trial_scores, score_name="R2"):
        self.html = html
        self.score = score
        self.trial_scores = trial_scores
        self.score_name = score_name

    @classmethod
    @isolated
    def from_estimator(
        cls,
        est,
        X,
        y=None,
        *,
        title="Report of a JEDI fit",
        time=None,
        events=None,
        inputs=None,
    ):
        """Make the report of a fitted estimator on trials.

        Parameters
        ----------
        est : JEDIEstimator
            Fitted.
        X : array-like of shape (n_trials, n_timesteps, n_neurons), or Recording
            Trials of the fit, or others. A recording brings its labels, time axis, events and
            names.
        y : array-like of shape (n_trials,), optional
            Condition of each trial, or a continuous quantity, which only colours the embeddings.
            Default: the labels of a recording.
        title : str, default="Report of a JEDI fit"
            Heading of the page.
        time : array-like of shape (n_timesteps,), optional
            Times of the samples, s.
        events : mapping of str to float or array-like of shape (n_trials,), optional
            Times of events in the trials, s; NaN where there is none.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, if and only if the fit had them.

        Returns
        -------
        Report

        Raises
        ------
        ImportError
            Without matplotlib: ``pip install "jedi-sklearn[plot]"``.

        Notes
        -----
        Decoders are cross-validated, the fit is not: where the trials are those of the fit, the
        page says so. How the fit does on trials that it has not seen, beside simple methods, is
        what :func:`~jedi_sklearn.evaluation.compare` measures.
        """
        plt = import_pyplot()
        check_jedi(est)
        y, (time, events) = labels_of(X, y), time_of(X, time, events)
        with plt.ioff(), plt.rc_context(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted = _Fitted(est, X, y, time, events, inputs)
            body = fitted.body()
        said = {str(w.message): w.category for w in caught}
        for text, category in said.items():
            warn_user(text, category)
        head = fitted.head(str(title), list(said))
        html = page(title, f"{head}\n{body}")
        return cls(html, fitted.score, fitted.scores, fitted.score_name)

    def save(self, path):
        """Write the page.

        Parameters
        ----------
        path : str or path
            As in "session12.html". A file there is replaced.

        Returns
        -------
        pathlib.Path
            Where it is.
        """
        path = Path(path)
        path.write_text(self.html, encoding="utf-8")
        return path

    def _repr_html_(self):
        return frame(self.html)

    def __repr__(self):
        n = len(self.trial_scores)
        return f"Report({self.score_name} {self.score:.3f} of {n} trials; save(path) writes it)"


class _Fitted:
    """A fit and its trials, inferred once, and the sections of their report."""

    def __init__(self, est, X, y, time, events, inputs):
        self.est, self.given = est, X
        recorded = isinstance(X, Recording)
        X = check_trials(X, missing=True)
        n = len(X)
        trials = self.given.trials if recorded else np.arange(n)
        self.events = check_events(events, n)
        self.time = time_axis(time, float(est.dt), X.shape[1])[0]
        self.inputs = check_inputs_of_trials(inputs, X, est.n_inputs_)
        self.y, self.labels, self.codes = None, None, None
        if y is not None:
            labels, codes = check_conditions(y, n)
            self.y = labels[codes]
            if len(labels) <= min(MOST_LABELS, n / 2):
                self.labels, self.codes = labels, codes
        _, _, found = est._infer(X, self.inputs, starts=True, errors=True)
        self.X, d = X, est.n_components_
        self.embedding, self.covariance = found.p[:, :d], found.covariance[:, :d, :d]
        self.converged = found.converged
        observation = est._model.observation
        self.score_name = observation.share
        self.score = float(free_run_r2(X, found.deviance, observation))
        self.scores = est._trial_r2(X, found.deviance)
        self.rnns = est._rnns(self.embedding, found, X.shape[1], self.inputs)
        self.names = [
            f"trial {name}" + ("" if self.y is None else f", {self.y[k]}")
            for k, name in enumerate(trials)
        ]

    # The page

    def head(self, title, messages):
        """Title, what matters most, and what was said."""
        est, n = self.est, len(self.X)
        now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        lines = [
            f"Free runs explain {self.score:.3f} of {n} trials ({self.score_name}; median trial "
            f"{np.median(self.scores):.3f}), with {est.n_components_} components a trial and RNNs "
            f"of rank {est.rank_}.",
        ]
        seen = self.embedding.shape == est.embedding_.shape
        seen = seen and np.allclose(self.embedding, est.embedding_, atol=1e-4)
        lines.append(
            "These are the trials of the fit: others may be explained less well."
            if seen
            else "These are not the trials of the fit, or not all of them alone."
        )
        warned = list(getattr(est, "_messages", []))
        if not est.converged_ and not warned:
            warned.append("Training had not converged.")
        bad = np.flatnonzero(~self.converged)
        if len(bad) and not any("did not converge" in m for m in messages):
            warned.append(f"The embeddings of {len(bad)} of {n} trials did not converge.")
        warned += messages
        return "\n".join(
            [
                "<header>",
                f"<h1>{escape(title)}</h1>",
                paragraphs(now, kind="soft"),
                paragraphs(*lines),
                paragraphs(*dict.fromkeys(warned), kind="warn"),
                "</header>",
            ]
        )

    def body(self):
        """All sections."""
        parts = (
            self.data,
            self.fit,
            self.reconstruction,
            self.embeddings,
            self.decoding,
            self.free_runs,
            self.spectra,
            self.fixed_points,
            self.versions,
            self.parameters,
        )
        return "\n".join(filter(None, (part() for part in parts)))

    def data(self):
        """What the trials are."""
        n, n_timesteps, n_neurons = self.X.shape
        missing = 1 - np.isfinite(self.X).mean()
        rows = [
            ("trials", str(n)),
            ("samples of a trial", f"{n_timesteps}, every {1e3 * self.est.dt:g} ms"),
            ("time", f"{self.time[0]:g} to {self.time[-1]:g} s"),
            ("neurons", str(n_neurons)),
            ("missing samples", f"{100 * missing:.3g} %"),
            ("known inputs", str(self.est.n_inputs_)),
        ]
        if self.labels is not None:
            rows.append(("conditions", str(len(self.labels))))
        return section("Trials", table(("", ""), rows))

    def fit(self):
        """How the fit went."""
        est = self.est
        share = self.score_name
        rows = [
            ("X taken as", "spike counts" if share == "D2" else "a continuous signal"),
            ("components of an embedding", str(est.n_components_)),
            ("rank of the RNNs", str(est.rank_)),
            ("steps of the dynamics per sample", str(est.steps_per_sample_)),
            ("gradient steps", f"{est.n_iter_} of at most {est.max_iter}"),
            ("converged", "yes" if est.converged_ else "no"),
            (f"{share} of the last step", f"{1 - est.loss_curve_[-1]:.3f}"),
            ("noise variance", f"{est.noise_variance_:.3g}"),
        ]
        ax = make_axes(None, figsize=(5.6, 2.8))
        ax.plot(1 - np.array(est.loss_curve_), color=PALETTE[0], lw=1.5, label="training")
        if est.validation_curve_:
            step, value = zip(*est.validation_curve_, strict=True)
            ax.plot(step, value, color=PALETTE[1], marker="o", ms=4, label="validation trials")
            ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
        low, high = np.quantile(1 - np.array(est.loss_curve_), [0.02, 1.0])
        room = 0.05 * max(high - low, 1e-3)
        ax.set(xlabel="gradient step", ylabel=share, ylim=(low - room, high + room))
        caption = f"{share} of the (forced) runs during training."
        return section("Fit", table(("", ""), rows), embed_figure(ax.figure, caption, "loss"))

    def reconstruction(self):
        """Scores by condition, and the trials that are described worst."""
        share, rows = self.score_name, []
        chosen = [("all", np.ones(len(self.X), dtype=bool))]
        if self.labels is not None:
            chosen += [(label, self.codes == k) for k, label in enumerate(self.labels)]
        for name, which in chosen:
            low, middle, high = np.quantile(self.scores[which], [0.25, 0.5, 0.75])
            rows.append((str(name), int(which.sum()), middle, low, high))
        head = (
            "condition",
            "trials",
            f"median {share} of a trial",
            "lower quartile",
            "upper quartile",
        )
        worst = np.argsort(self.scores, kind="stable")[:WORST]
        rest = [(self.names[k], float(self.scores[k])) for k in worst]
        return section(
            "How well free runs reproduce the trials",
            paragraphs(
                f"{share} of all trials together: {self.score:.3f}. A free run starts where the "
                "embedding, or the first sample, says, and never sees the trial again; the "
                "embedding was inferred from the trial itself."
            ),
            table(head, rows),
            paragraphs("The trials that are described worst:"),
            table(("trial", share), rest),
        )

    def embeddings(self):
        """The embeddings, to be pointed at."""
        display = EmbeddingDisplay(self.embedding, self.y)
        scored = zip(self.names, self.scores, strict=True)
        names = [f"{name}\n{self.score_name} {score:.2f}" for name, score in scored]
        svg = display.to_svg(names)
        caption = (
            "Embeddings of the trials in their first two components; trials that are near have "
            "similar dynamics. Point at a trial to see which it is."
        )
        return section("Embeddings", embed_svg(svg, caption, "embeddings of the trials"))

    def decoding(self):
        """Conditions from embeddings and from mean activity."""
        if self.labels is None or len(self.labels) < 2:
            return ""
        least = int(np.bincount(self.codes).min())
        if least < 3:
            return section(
                "Decoding",
                paragraphs("Not done: a condition has fewer than 3 trials to learn from."),
            )
        folds = StratifiedKFold(min(FOLDS, least), shuffle=True, random_state=0)
        lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        plain = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), lda)
        summed = "summed activity of each neuron"
        sources = {"embeddings": self.embedding, summed: mean_rates(self.X)}
        rows, n = [], len(self.X)
        for name, features in sources.items():
            hits = cross_val_predict(plain, features, self.codes, cv=folds) == self.codes
            low, high = accuracy_interval(hits, n, CONFIDENCE)
            rows.append((name, float(hits.mean()), float(low), float(high)))
        chance = float(np.bincount(self.codes).max() / n)
        rows.append(("always the most frequent condition", chance, np.nan, np.nan))
        return section(
            "Decoding the conditions",
            table(("from", "accuracy", f"{100 * CONFIDENCE:g} % interval, from", "to"), rows),
            paragraphs(
                f"Shrunken linear discriminant analysis, {folds.n_splits} folds. The decoders are "
                "cross-validated; the fit is not, and where these are its trials and y was given "
                "to it, embeddings may owe something to y. evaluation.compare leaves trials out "
                "of the fit as well.",
                kind="soft",
            ),
        )

    def free_runs(self):
        """Some trials beside their free runs."""
        display = FreeRunDisplay.from_estimator(
            self.est,
            self.given,
            conditions=None if self.labels is None else self.y,
            time=self.time,
            events=self.events,
            inputs=self.inputs,
        )
        caption = "Observed activity and free runs of some trials, in the neurons "
        caption += (
            "that free runs explain most of."
            if self.labels is None
            else "that differ most between conditions."
        )
        return section("Free runs", embed_figure(display.figure_, caption, "free runs"))

    def spectra(self):
        """Eigenvalues of the RNNs."""
        conditions = None if self.labels is None else self.y
        figures = []
        for kind in ("multipliers", "rates"):
            display = EigenspectrumDisplay.from_rnns(
                self.rnns, "equivalent", conditions, kind=kind
            )
            caption = {
                "multipliers": "Multipliers of one step of the RNNs, linearised over their free "
                'runs (at="equivalent"): what lies outside the circle grows.',
                "rates": "The same as growth rates and frequencies.",
            }[kind]
            figures.append(embed_figure(display.figure_, caption, f"eigenspectra, {kind}"))
        return section("Eigenspectra", *figures)

    def fixed_points(self):
        """How many fixed points the RNNs of the conditions have."""
        if self.labels is None or len(self.labels) > MOST_SEARCHES:
            labels, means = ["all trials"], self.embedding.mean(axis=0, keepdims=True)
        else:
            labels = self.labels
            means = [self.embedding[self.codes == k].mean(axis=0) for k in range(len(labels))]
        rows = []
        for label, points in zip(
            labels, find_fixed_points(self.est.generate_rnns(np.array(means))), strict=True
        ):
            unstable = points.n_unstable[~points.stable]
            counts = np.unique(unstable, return_counts=True)
            each = [f"{n} with {k}" for k, n in zip(*counts, strict=True)]
            rows.append((str(label), int(points.stable.sum()), ", ".join(each) or "none"))
        return section(
            "Fixed points",
            table(("RNN of the mean embedding of", "stable", "unstable (directions)"), rows),
            paragraphs(
                "Points where the RNN of a mean embedding stands still, without input, wherever "
                "they lie: those far from all trials say little. What survives other seeds, "
                "trials and neurons is what evaluation.stability_report tells.",
                kind="soft",
            ),
        )

    def parameters(self):
        """All parameters, those that were changed stressed."""
        default = type(self.est)().get_params(deep=False)
        names = [name for name in default if name not in OLD_NAMES.values()]
        rows = [(name, repr(setting(self.est, name))) for name in names]
        changed = [i for i, (name, value) in enumerate(rows) if value != repr(default[name])]
        said = "Those that differ from their default are stressed."
        return section("Parameters", paragraphs(said, kind="soft"), table(("", ""), rows, changed))

    def versions(self):
        """Of the packages that a number may depend on."""
        rows = [("jedi-sklearn", __version__), ("Python", platform.python_version())]
        rows += [(name, version(name)) for name in PACKAGES]
        return section("Versions", table(("", ""), rows))
