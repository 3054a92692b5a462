"""What users get when a fitted model grows: neurons of a new session, trials of a new task."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from ._adapt import adapt, check_adapts
from ._extend import extend
from ._parameters import check_parameters, choose_labels
from ._plausible import warn_of_zeros
from ._predictions import warn_unconverged
from ._solvers import SOLVERS
from ._torch import isolated, resolve_device
from ._validation import check_inputs_of_trials, check_trials, listed, warn_user

__all__ = ["GrowthMixin"]

EXTENSION = 4  # times max_iter: steps with few trials, which take little time each


class GrowthMixin:
    """`adapt` and `extend` of a fitted estimator, which return another one."""

    @isolated
    def adapt(self, X, y=None, *, conditions=None, inputs=None):
        """Add the neurons of a new session to the fitted model; return the new estimator.

        Nothing that was fitted changes: the new neurons are read out from the dynamics and drive
        nothing. Embeddings of earlier trials, with NaN in the new columns, stay bit-identical.
        The weights of the new neurons are fitted to free runs, first of the embeddings of their
        conditions, then of the embeddings of the new trials themselves (docs/model.md, eq. 19).

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Trials of the new session. The first columns are the neurons of the fit, with NaN if
            they were not recorded; the new neurons follow
            (:func:`~jedi_sklearn.preprocessing.place_neurons` arranges them).
        y : array-like of shape (n_trials,), optional
            Labels, used as conditions unless `conditions` is given.
        conditions : array-like of shape (n_trials,), optional
            Condition of each trial. Some must be conditions of the fit, unless neurons of the fit
            were recorded in the trials.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs; required if, and only if, the model was fitted with inputs.

        Returns
        -------
        JEDIEstimator
            A fitted copy whose `X` has the new neurons as well. ``self`` does not change.

        Raises
        ------
        ValueError
            If nothing relates the new trials to those of the fit, or if the fit does not have
            shared bases and generated initial states.
        ValueError, TypeError
            If the data cannot be used, as in ``fit``.

        Warns
        -----
        UserWarning
            If some trials have conditions that the fit did not have.
        ConvergenceWarning
            If the inference of some trials has not converged.

        Examples
        --------
        >>> import numpy as np
        >>> from jedi_sklearn import JEDIEstimator
        >>> from jedi_sklearn.datasets import make_initial_states
        >>> from jedi_sklearn.preprocessing import place_neurons
        >>> data = make_initial_states(80, n_conditions=4, n_neurons=50, n_timesteps=50, dt=0.02)
        >>> old, new = data.X[:40, :, :30], data.X[40:, :, 30:]  # 30 neurons, and then 20 others
        >>> est = JEDIEstimator(6, 12, dt=0.02, max_iter=100, tol=0.1, random_state=0)
        >>> est.fit(old, data.condition[:40]).n_features_in_
        30
        >>> X = place_neurons(new, columns=slice(30, 50), n_neurons=50)
        >>> joined = est.adapt(X, data.condition[40:])
        >>> joined.n_features_in_, joined.transform(X[:5]).shape
        (50, (5, 6))
        """
        check_is_fitted(self, "hypernetwork_")
        check_adapts(self._model)
        X = check_trials(X, missing=True)
        model, n_known = self._model, self.n_features_in_
        if X.shape[2] <= n_known:
            raise ValueError(
                f"X must hold the {n_known} neurons of the fit (NaN if they were not recorded) "
                f"and then the new ones, got {X.shape[2]} neurons. Use "
                "preprocessing.place_neurons."
            )
        inputs, labels, codes = self._check_joining(X, y, conditions, inputs)
        each = None if labels is None else labels[codes].tolist()
        fitted = {}
        if hasattr(self, "conditions_"):
            labels = self.conditions_.tolist()
            fitted = dict(zip(labels, self.condition_embeddings_, strict=True))
        how = (self._structure["scale"], resolve_device(self.device))
        joined, converged = adapt(model, X, each, fitted, inputs, *how)

        unknown = [label for label in each or [] if label not in fitted]
        if unknown and fitted:
            warn_user(
                f"{len(unknown)} of {len(X)} trials have conditions that the fit did not have "
                f"({listed(sorted(set(unknown), key=str))}; it had {listed(list(fitted))}), so "
                "their labels are not used. Are they spelled differently?"
            )
        made = self._copy_with(joined)
        made.n_features_in_ = X.shape[2]
        made.mean_, made.scale_ = (
            a.numpy().copy() for a in (joined.observation.mean, joined.observation.scale)
        )
        if not converged.all():
            bad = np.flatnonzero(~converged)
            warn_user(
                "The weights of the new neurons were fitted to the embeddings of "
                f"{len(converged)} trials, {len(bad)} of which did not converge, the first of "
                f"them that of trial {bad[0]}. The model may not describe these trials: compare "
                "score_samples, and leave out those with low scores.",
                ConvergenceWarning,
            )
        return made

    @isolated
    def extend(self, X, y=None, *, conditions=None, inputs=None):
        """Extend the shared bases by a few trials of a new task; return the new estimator.

        Activity of a task that was not fitted may leave the span of the shared bases, and no
        embedding can then describe it. The bases get as many more columns as the new trials need
        beyond noise, and the embedding gets components that alone reach them: one for the task,
        and others for how its trials differ beyond noise, fewer than trials. Everything that was
        fitted stays frozen. Each trial is described by whichever of the two models makes it more
        likely. With the earlier one its embedding, score, posterior, free run and RNN are those
        of ``self``, bit for bit, and its new components are 0; ``forecast`` and ``impute`` average
        over both models (docs/model.md, eq. 22).

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Trials of the new task, of the neurons of the fit. One is enough; ten or more are
            better.
        y : array-like of shape (n_trials,), optional
            Labels, used as conditions unless `conditions` is given.
        conditions : array-like of shape (n_trials,), optional
            Condition of each trial. New ones are appended to ``conditions_`` and
            ``condition_embeddings_``; those of the fit keep their embeddings.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs; required if, and only if, the model was fitted with inputs.

        Returns
        -------
        JEDIEstimator
            A fitted copy with more components, usually of a higher rank. Its ``embedding_``
            has the new trials after those of the fit. ``self`` does not change.

        Raises
        ------
        ValueError
            If the fit does not have shared bases and generated initial states, or has a
            perceptron without affine path (``solver="paper"``).
        ValueError, TypeError
            If the data cannot be used, as in ``fit``.
        FloatingPointError
            If training diverges.

        Warns
        -----
        UserWarning
            If neurons of the fit were not recorded in any of the trials, or if the fit describes
            most of the trials as well as the extension by them does.
        ConvergenceWarning
            If training, or the inference of some trials, has not converged.

        Notes
        -----
        Training takes four times `max_iter` steps, with the current parameters. Trials of the fit
        are not needed. An estimator can be extended again, and ``adapt`` works before and after.

        Examples
        --------
        >>> from jedi_sklearn import JEDIEstimator
        >>> from jedi_sklearn.datasets import make_multitask
        >>> data = make_multitask(80, n_neurons=24, n_timesteps=40, dt=0.025, random_state=0)
        >>> new = data.task == "reach"
        >>> est = JEDIEstimator(5, 8, dt=0.025, max_iter=120, tol=1, random_state=0)
        >>> est = est.fit(data.X[~new][:42], data.task[~new][:42])
        >>> more = est.extend(data.X[new][:8], data.task[new][:8])
        >>> more.conditions_.tolist()
        ['decision', 'memory', 'oscillation', 'reach']
        >>> est.score(data.X[new][8:]) < 0.8 < 0.9 < more.score(data.X[new][8:])
        True
        """
        check_is_fitted(self, "hypernetwork_")
        model, d = self._model, self.n_components_
        together = "Fit the trials of all tasks together"
        check_adapts(model, "A new task can only extend", together)
        if not model.hypernetwork.skip:
            raise ValueError(
                "A new task can only extend a perceptron with an affine path, but this fit has "
                f'solver="paper". {together}, or fit with solver="annealed".'
            )
        check_parameters(self)
        X = check_trials(X, n_neurons=self.n_features_in_, missing=True)
        inputs, labels, codes = self._check_joining(X, y, conditions, inputs)
        lost = np.flatnonzero(~np.any([np.isfinite(x).any(axis=0) for x in X], axis=0))
        if len(lost):
            warn_user(
                f"{len(lost)} of {X.shape[2]} neurons were not recorded in any trial of X (neuron "
                f"{listed(lost)}), so what they do in this task stays unknown: do not rely on "
                "predictions of them. Extend by trials of all sessions together."
            )

        def schedule_of(trials):
            schedule = SOLVERS[self.solver].schedule(self, trials, False)
            return replace(schedule, max_iter=EXTENSION * schedule.max_iter)

        device = resolve_device(self.device)
        extended, found, training = extend(model, X, inputs, schedule_of, device)
        if training.interrupted:
            raise KeyboardInterrupt

        own = (found.p[:, d:] != 0).any(axis=1)
        made = self._copy_with(extended)
        made.n_components_, made.rank_ = found.p.shape[1], extended.connectivity.rank
        more = [(0, 0), (0, made.n_components_ - d)]
        made.embedding_ = np.concatenate([np.pad(self.embedding_, more), found.p])
        if hasattr(self, "conditions_"):
            made.condition_embeddings_ = np.pad(self.condition_embeddings_, more)
        if labels is not None:
            made._add_conditions(labels, [found.p[codes == i] for i in range(len(labels))])
        self._say(
            f"{made.rank_ - self.rank_} more columns of the bases, {made.n_components_ - d} more "
            f"components; {own.sum()} of {len(X)} trials use them"
        )
        if training.complaint:
            warn_user(
                f"Of the extension by {len(X)} trials, for which more trials help most: "
                f"{training.complaint}",
                ConvergenceWarning,
            )
        elif 2 * own.sum() < len(X):
            warn_user(
                f"The fit describes {len(X) - own.sum()} of these {len(X)} trials as well as its "
                "extension by them does. So they are hardly of a new task, and the extension is "
                "of little use: keep the estimator that extend was called on. If they are of a "
                "new task, extend by more of them, or with more steps (max_iter)."
            )
        warn_unconverged(found.converged)
        return made

    def _check_joining(self, X, y, conditions, inputs):
        """Check trials X that join the fit; return inputs, labels and codes, None without any."""
        inputs = check_inputs_of_trials(inputs, X, self.n_inputs_)
        self._model.observation.check(X)
        warn_of_zeros(X)
        if y is None and conditions is None:
            return inputs, None, None
        return inputs, *choose_labels(self, y, conditions, len(X))

    def _copy_with(self, model):
        """Copy the estimator with another model, for which the trials of the fit are gone."""
        if not self.n_inputs_:
            self._run_components()  # of the neurons and trials that it has
        made = copy.deepcopy(self)
        made._model, made.hypernetwork_ = model, model.hypernetwork
        return made

    def _add_conditions(self, labels, embeddings):
        """Append conditions that are new, with the embeddings of their trials."""
        known, means = [], []
        if hasattr(self, "conditions_"):
            known, means = self.conditions_.tolist(), list(self.condition_embeddings_)
        for label, some in zip(labels.tolist(), embeddings, strict=True):
            if label not in known:
                known.append(label)
                means.append(some.mean(axis=0))
        alike = len({type(label) for label in known}) == 1
        self.conditions_ = np.array(known, dtype=None if alike else object)
        self.condition_embeddings_ = np.stack(means)
