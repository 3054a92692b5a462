"""What a fit found, on one page to keep or send: `Report`."""

from __future__ import annotations

import platform
import warnings
from datetime import datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree
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
    listed,
    setting,
    warn_user,
)
from ..evaluation._answers import mean_rates
from ..evaluation._comparison import accuracy_interval
from ..evaluation._simple import ConditionMean, Posed
from ..fixed_points import find_fixed_points
from ..preprocessing import Recording
from ..preprocessing._recording import check_events, time_axis
from ._colours import PALETTE
from ._common import check_jedi, import_pyplot, labels_of, make_axes, time_of
from ._embedding import EmbeddingDisplay
from ._free_run import FreeRunDisplay
from ._html import embed_figure, embed_svg, folded, frame, page, paragraphs, section, table
from ._spectrum import EigenspectrumDisplay

__all__ = ["Report"]

MOST_LABELS = 40  # a longer table would go unread
MOST_SEARCHES = 24  # conditions for which fixed points are searched
FOLDS, CONFIDENCE = 5, 0.95
WORST = 5
POOR = 0.5  # of the median score of all trials: a condition below it deserves a look
PACKAGES = ("scikit-learn", "torch", "numpy", "scipy", "matplotlib")


class Report:
    """Report of a fit on trials, as one self-contained HTML page.

    Create it with :meth:`JEDIEstimator.report <jedi_sklearn.JEDIEstimator.report>` or
    :meth:`from_estimator`. A notebook displays it; :meth:`save` writes it to a file.

    Parameters
    ----------
    html : str
        The whole page.
    score : float
        R2 (D2 for spike counts) over all trials, as ``est.score`` returns it.
    trial_scores : ndarray of shape (n_trials,)
        Score of each trial, as ``est.score_samples`` returns it.
    score_name : {"R2", "D2"}, default="R2"
        Name of the score.

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
        """Report how a fitted estimator describes trials.

        Parameters
        ----------
        est : JEDIEstimator
            Fitted estimator.
        X : array-like of shape (n_trials, n_timesteps, n_neurons), or Recording
            Training trials or other trials. A recording provides labels, time axis, events and
            names.
        y : array-like of shape (n_trials,), optional
            Condition of each trial, or values of a continuous quantity, which only colour the
            embeddings. Default: the labels of a recording.
        title : str, default="Report of a JEDI fit"
            Heading of the page.
        time : array-like of shape (n_timesteps,), optional
            Times of the samples, s. Default: those of a recording, or starting at 0.
        events : mapping of str to float or array-like of shape (n_trials,), optional
            Times of events in the trials, s. NaN where a trial lacks the event.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs; required if, and only if, the model was fitted with inputs.

        Returns
        -------
        Report
            The page, with the scores of the trials.

        Raises
        ------
        ImportError
            If matplotlib is missing: ``pip install "jedi-sklearn[plot]"``.

        Notes
        -----
        The report cross-validates the decoders but not the fit. If `X` holds the training trials,
        the page says so. :func:`~jedi_sklearn.evaluation.compare` measures how the model performs
        on trials that the fit has not seen, beside simple methods.
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
        """Write the page to a file.

        Parameters
        ----------
        path : str or path
            File to write, such as "session12.html". An existing file is replaced.

        Returns
        -------
        pathlib.Path
            Path of the file.
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
    """A fitted estimator and its trials, inferred once, with the sections of their report."""

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
        nearest = est.embedding_[KDTree(est.embedding_).query(self.embedding)[1]]
        self.seen = np.allclose(self.embedding, nearest, atol=1e-4)  # by the fit
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
        """Write the title, the main results, and the warnings."""
        est, n = self.est, len(self.X)
        now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        lines = [
            f"Free runs explain {self.score:.3f} of {n} trials ({self.score_name}; median over "
            f"trials {np.median(self.scores):.3f}), with {est.n_components_} components per "
            f"embedding and RNNs of rank {est.rank_}.",
        ]
        lines.append(
            "These are training trials: the model may explain other trials less well."
            if self.seen
            else "These trials were not all in the fit."
        )
        warned = list(getattr(est, "_messages", []))
        if not est.converged_ and not warned:
            warned.append("Training did not converge.")
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
        """Write all sections."""
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
        """Describe the trials."""
        n, n_timesteps, n_neurons = self.X.shape
        missing = 1 - np.isfinite(self.X).mean()
        rows = [
            ("trials", str(n)),
            ("samples per trial", f"{n_timesteps}, every {1e3 * self.est.dt:g} ms"),
            ("time", f"{self.time[0]:g} to {self.time[-1]:g} s"),
            ("neurons", str(n_neurons)),
            ("missing samples", f"{100 * missing:.3g} %"),
            ("known inputs", str(self.est.n_inputs_)),
        ]
        if self.labels is not None:
            rows.append(("conditions", str(len(self.labels))))
        return section("Trials", table(("", ""), rows))

    def fit(self):
        """Describe the fit."""
        est = self.est
        share = self.score_name
        rows = [
            ("X treated as", "spike counts" if share == "D2" else "a continuous signal"),
            ("components per embedding", str(est.n_components_)),
            ("rank of the RNNs", str(est.rank_)),
            ("steps of the dynamics per sample", str(est.steps_per_sample_)),
            ("gradient steps", f"{est.n_iter_} of at most {est.max_iter}"),
            ("converged", "yes" if est.converged_ else "no"),
            (f"{share} at the last step", f"{1 - est.loss_curve_[-1]:.3f}"),
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
        caption = f"{share} of the runs under teacher forcing, during training."
        return section("Fit", table(("", ""), rows), embed_figure(ax.figure, caption, "loss"))

    def reconstruction(self):
        """Tabulate the scores of conditions, and the trials with the lowest scores."""
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
        usual = max(rows[0][2], 0.0)
        poor = [name for name, _, middle, *_ in rows[1:] if middle < POOR * usual]
        return section(
            "How well free runs reproduce the trials",
            paragraphs(
                f"{share} over all trials: {self.score:.3f}. A free run starts where the "
                "embedding says, at a state inferred beside it or at the first sample, and never "
                "sees the trial again. The embedding was inferred from the trial itself.",
                "D2 of single trials is low even for the true rates, because bins with few spikes "
                "are mostly noise. Compare it with that of other methods."
                if share == "D2"
                else "",
                self.condition_mean(),
            ),
            table(head, rows),
            paragraphs(
                f"Far less well described than the rest: {listed(poor)}. The median {share} of a "
                "trial there is less than half of that of all trials. Either these trials vary "
                "less, or the model misses something of them: look at their free runs.",
                kind="warn",
            )
            if poor
            else "",
            paragraphs("Trials with the lowest scores:"),
            table(("trial", share), rest),
        )

    def condition_mean(self):
        """Say how well the mean trial of its condition describes each trial.

        If the fit saw all these trials, so do the means; otherwise they leave out those scored.
        """
        if self.labels is None:
            return ""
        splits = [(slice(None), range(len(self.X)))]
        knows = "has seen these trials, as the fit has."
        if not self.seen:
            if np.bincount(self.codes).min() < FOLDS:  # means of fewer trials would be too noisy
                return (
                    f"For the condition mean, give at least {FOLDS} trials of each condition, or "
                    "see evaluation.compare."
                )
            folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
            splits = folds.split(self.codes, self.codes)
            knows = f"is learned from the other trials of this page ({FOLDS} folds), which may be "
            knows += "few. evaluation.compare learns it from the training trials."
        observation, deviance = self.est._model.observation, np.zeros(len(self.X))
        trials = Posed(self.X, self.X, self.codes)
        for train, test in splits:
            mean = ConditionMean(0.0, self.score_name == "D2").fit(trials[train])
            for k in test:
                deviance[k] = observation.deviance_of(self.X[k], mean.predict(trials[[k]])[0])
        score = free_run_r2(self.X, deviance, observation)
        return (
            f"{self.score_name} of the condition mean: {score:.3f}. It is told the condition of "
            f"each trial and nothing else, and {knows}"
        )

    def embeddings(self):
        """Draw the embeddings, with names under the mouse pointer."""
        display = EmbeddingDisplay(self.embedding, self.y)
        scored = zip(self.names, self.scores, strict=True)
        names = [f"{name}\n{self.score_name} {score:.2f}" for name, score in scored]
        svg = display.to_svg(names)
        caption = (
            "First two components of the embeddings. Trials close to each other have similar "
            "dynamics. Point at a trial to see its name."
        )
        return section("Embeddings", embed_svg(svg, caption, "embeddings of the trials"))

    def decoding(self):
        """Decode conditions from embeddings and from mean activity."""
        if self.labels is None or len(self.labels) < 2:
            return ""
        least = int(np.bincount(self.codes).min())
        if least < 3:
            return section(
                "Decoding",
                paragraphs("Not done: a condition has fewer than 3 trials."),
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
            table(
                ("decoded from", "accuracy", f"{100 * CONFIDENCE:g} % interval, from", "to"), rows
            ),
            paragraphs(
                f"Shrinkage linear discriminant analysis, {folds.n_splits} folds. The decoders "
                "are cross-validated, but the fit is not: if these are the training trials and "
                "the fit was given y, their embeddings may depend on y. evaluation.compare leaves "
                "trials out of the fit as well.",
                kind="soft",
            ),
        )

    def free_runs(self):
        """Draw some trials beside their free runs."""
        display = FreeRunDisplay.from_estimator(
            self.est,
            self.given,
            conditions=None if self.labels is None else self.y,
            time=self.time,
            events=self.events,
            inputs=self.inputs,
        )
        caption = "Observed activity and free runs of some trials, for the neurons "
        caption += (
            "that the free runs explain best."
            if self.labels is None
            else "that differ most between conditions."
        )
        return section("Free runs", embed_figure(display.figure_, caption, "free runs"))

    def spectra(self):
        """Draw the eigenvalues of the RNNs."""
        conditions = None if self.labels is None else self.y
        figures = []
        for kind in ("multipliers", "rates"):
            display = EigenspectrumDisplay.from_rnns(
                self.rnns, "equivalent", conditions, kind=kind
            )
            caption = {
                "multipliers": "Multipliers of one step of the RNNs, linearised over their free "
                'runs (at="equivalent"). Modes outside the unit circle grow.',
                "rates": "The same eigenvalues as growth rates and frequencies.",
            }[kind]
            figures.append(embed_figure(display.figure_, caption, f"eigenspectra, {kind}"))
        return section("Eigenspectra", *figures)

    def fixed_points(self):
        """Count the fixed points of the conditions' RNNs."""
        if self.labels is None or len(self.labels) > MOST_SEARCHES:
            labels, means = ["all trials"], self.embedding.mean(axis=0, keepdims=True)
        else:
            labels = self.labels
            means = [self.embedding[self.codes == k].mean(axis=0) for k in range(len(labels))]
        rows, others = [], []
        for label, points in zip(
            labels, find_fixed_points(self.est.generate_rnns(np.array(means))), strict=True
        ):
            unstable = points.n_unstable
            rows.append((str(label), int(points.stable.sum()), int((unstable == 1).sum())))
            counts = np.unique(unstable[unstable > 1], return_counts=True)
            others += [(str(label), int(k), int(n)) for k, n in zip(*counts, strict=True)]
        head = "RNN of the mean embedding of"
        return section(
            "Fixed points",
            table((head, "stable points", "saddles"), rows),
            folded(
                "Points with several unstable directions",
                table((head, "unstable directions", "points"), others),
            )
            if others
            else "",
            paragraphs(
                "Points where the RNN of a mean embedding stands still without input. Stable "
                "points attract; saddles have one unstable direction. Points may lie anywhere; "
                "those far from all trials mean little. evaluation.stability_report tells which "
                "of them survive other seeds, trials and neurons.",
                kind="soft",
            ),
        )

    def parameters(self):
        """Tabulate all parameters, highlighting those that were changed."""
        default = type(self.est)().get_params(deep=False)
        names = [name for name in default if name not in OLD_NAMES.values()]
        rows = [(name, repr(setting(self.est, name))) for name in names]
        changed = [i for i, (name, value) in enumerate(rows) if value != repr(default[name])]
        said = "Parameters that differ from their defaults are highlighted."
        return section("Parameters", paragraphs(said, kind="soft"), table(("", ""), rows, changed))

    def versions(self):
        """Tabulate the versions of packages that results may depend on."""
        rows = [("jedi-sklearn", __version__), ("Python", platform.python_version())]
        rows += [(name, version(name)) for name in PACKAGES]
        return section("Versions", table(("", ""), rows))
