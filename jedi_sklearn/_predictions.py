"""What a fitted model says of trials: embeddings with error bars, free runs, predictions, RNNs."""

from __future__ import annotations

import numbers

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from ._advice import describe_gap
from ._fit import free_run_r2
from ._torch import isolated, resolve_device
from ._trials import one_less
from ._validation import (
    as_numbers,
    as_plain_array,
    check_inputs_of_trials,
    check_number,
    check_option,
    setting,
    warn_user,
)

__all__ = ["PredictionMixin", "warn_unconverged"]

# Signs of wrong units: mean square of the samples in training SDs, and the ratio of the size of
# the activity to that of the training data, or its inverse
FAR, OTHER_SIZE = 100, 10


class PredictionMixin:
    """What an estimator infers, predicts and generates once it is fitted, and in which units."""

    @isolated
    def posterior(self, X, *, inputs=None):
        """Infer the embeddings of trials with their uncertainty.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity, as in ``transform``.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, as in ``transform``.

        Returns
        -------
        Bunch
            - ``mean`` (n_trials, n_components): embeddings, as ``transform`` returns them,
            - ``covariance`` (n_trials, n_components, n_components): covariance of ``mean`` under
              the noise of the trial, with the variance of each neuron's residuals and their
              correlation in time as in the training data (docs/model.md, eq. 11),
            - ``initial_state`` (n_trials, n_neurons): initial states of the free runs,
            - ``r2`` (n_trials,): scores, as ``score_samples`` returns them,
            - ``converged`` (n_trials,): whether the inference converged.
        """
        X, inputs, found = self._infer(X, inputs, starts=True, errors=True)
        d = self.n_components_
        return Bunch(
            mean=found.p[:, :d],
            covariance=found.covariance[:, :d, :d],
            initial_state=self._model.observation.activity(found.x0),
            r2=self._trial_r2(X, found.deviance),
            converged=found.converged,
        )

    @isolated
    def inverse_transform(self, E, initial_state=None, n_timesteps=None, *, inputs=None):
        """Generate activity from embeddings: the free runs of their RNNs.

        Parameters
        ----------
        E : array-like of shape (n_trials, n_components)
            Embeddings.
        initial_state : array-like of shape (n_neurons,) or (n_trials, n_neurons), optional
            Initial states of the free runs, in the units of `X`. Default: those generated from
            the embeddings or, if the fit had ``initial_state="inferred"`` or "observed", the mean
            of the training trials.
        n_timesteps : int, optional
            Number of samples to generate, including the initial state. Default: as many as in
            `inputs`, or in the training trials.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs; required if, and only if, the model was fitted with inputs.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Activity in the units of `X`.
        """
        E, x0, n_timesteps, inputs = self._check_free_run(E, initial_state, n_timesteps, inputs)
        return self._model.generate(E, x0, n_timesteps, inputs)

    @isolated
    def predict(self, X, *, inputs=None, per_second=False):
        """Generate the free runs of the RNNs of trials, from the initial states of ``posterior``.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity, as in ``transform``.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, as in ``transform``.
        per_second : bool, default=False
            For spike counts, return rates in spikes/s instead of expected counts per bin.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Activity in the units of `X`; for spike counts, the expected count of each bin.
        """
        check_is_fitted(self, "hypernetwork_")
        if per_second and self.observation_ != "poisson":
            raise ValueError(
                'per_second=True needs spike counts (observation="poisson"), but this model '
                "returns activity in the units of X. Leave per_second out."
            )
        X, inputs, found = self._infer(X, inputs, starts=True)
        embedding = found.p[:, : self.n_components_]
        run = self._model.generate(embedding, found.x0, X.shape[1], inputs)
        return run / self.dt if per_second else run

    @isolated
    def impute(self, X, *, inputs=None, average=True):
        """Replace the missing values (NaN) of trials by what is expected, given the others.

        The values seen seldom determine the embedding of a trial, and trials also differ in what
        no embedding holds. So the expectation is a mean over the embeddings that a trial may
        have, weighted by how likely each makes the values seen, as in ``forecast``. What the
        neurons seen have in common beyond that changes the neurons not seen, too (docs/model.md,
        eq. 20, 21). The fit learns how far to go with both, by hiding neurons of training trials.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity, as in ``transform``. Hide values, such as some neurons, by NaN.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, as in ``transform``.
        average : bool, default=True
            Whether to replace values by this expectation. False takes those of ``predict(X)``, the
            free run of the most likely embedding under the Gaussian alone.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            `X` with NaN replaced by activity in the units of `X`; for spike counts, by the
            expected count of the bin.

        Raises
        ------
        ValueError, TypeError
            If the data cannot be used, or a trial holds no value at all.

        See Also
        --------
        predict : The free runs of the RNNs, also where values were observed.
        jedi_sklearn.metrics.CoSmoothingScorer : How well neurons held out are predicted.

        Examples
        --------
        >>> import numpy as np
        >>> from jedi_sklearn import JEDIEstimator
        >>> from jedi_sklearn.datasets import make_multitask
        >>> X = make_multitask(n_trials=40, n_neurons=50, random_state=0).X
        >>> est = JEDIEstimator(n_components=4, rank=12, max_iter=100, tol=0.1, random_state=0)
        >>> seen = X[30:].copy()
        >>> seen[:, :, :10] = np.nan                      # ten neurons were not recorded
        >>> filled = est.fit(X[:30]).impute(seen)
        >>> bool(np.square(filled - X[30:]).mean() < 0.1 * X.var())
        True
        """
        X, inputs, found = self._infer(X, inputs, expected=average, starts=not average)
        if average:
            expected = found.expected
        else:
            embedding = found.p[:, : self.n_components_]
            expected = self._model.generate(embedding, found.x0, X.shape[1], inputs)
        return np.where(np.isnan(X), expected, X)

    @isolated
    def forecast(
        self,
        X,
        n_timesteps,
        *,
        inputs=None,
        correction="auto",
        average=True,
    ):
        """Forecast activity after the part of the trials that was seen.

        The beginning of a trial seldom determines its embedding. The forecast is therefore the
        mean of the continuations under all embeddings that the trial may have, weighted by how
        likely each makes the part seen. These are the embeddings of training trials, and the most
        likely one under their Gaussian (docs/model.md, eq. 20).

        Parameters
        ----------
        X : array-like of shape (n_trials, n_seen, n_neurons)
            The part of the trials that was seen, as in ``transform``.
        n_timesteps : int
            Number of samples to forecast.
        inputs : array-like of shape (n_trials, n_seen + n_timesteps, n_inputs), optional
            Known inputs during the part seen and the forecast; required if, and only if, the
            model was fitted with inputs.
        correction : float or "auto", default="auto"
            Share of the error at each sample seen by which a run is corrected, during inference
            of the embeddings and up to the state from which the forecast starts. With 0, the
            forecast continues from the end of the free run; with 1, from the last sample. A small
            share averages the noise of single samples and keeps small errors from growing under
            unstable dynamics, like a Kalman filter of fixed gain. "auto" is 0.1 with known
            inputs. It is 0 without inputs, because embeddings then determine how trials continue,
            and for spike counts, because smoothed counts are biased towards the mean.
        average : bool, default=True
            Whether to average over embeddings. False follows the run of the most likely embedding
            under the Gaussian alone, which ``transform(X)`` returns if `correction` is 0. The
            forecast is then the end of a single free run, that of an RNN of ``dynamics(X)``.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Activity in the units of `X`; for spike counts, the expected count of each bin.

        Raises
        ------
        ValueError, TypeError
            If data or arguments cannot be used; the message says what to try.

        References
        ----------
        Blackwell and MacQueen (1973), "Ferguson distributions via Polya urn schemes", Ann. Stat.
        1:353-355, for the prior of a new trial.

        Examples
        --------
        >>> from jedi_sklearn import JEDIEstimator
        >>> from jedi_sklearn.datasets import make_multitask
        >>> X = make_multitask(n_trials=40, n_neurons=50, random_state=0).X
        >>> est = JEDIEstimator(n_components=4, rank=12, max_iter=100, tol=0.1, random_state=0)
        >>> est.fit(X[:30]).forecast(X[30:, :100], 50).shape
        (10, 50, 50)
        """
        check_number(n_timesteps, "n_timesteps", numbers.Integral, low=1)
        if average:
            return self._infer_seen(X, n_timesteps, inputs, correction, ahead=n_timesteps)[2].ahead
        embedding, last, later = self._follow(X, n_timesteps, inputs, correction)
        return self._model.generate(embedding, last, n_timesteps + 1, later)[:, 1:]

    def _follow(self, X, n_timesteps, inputs, correction):
        """Infer embeddings and states at the last sample (scaled); return later inputs too."""
        X, inputs, found = self._infer_seen(X, n_timesteps, inputs, correction)
        later = None if inputs is None else inputs[:, X.shape[1] - 1 :]
        return found.p[:, : self.n_components_], found.last, later

    def _infer_seen(self, X, n_timesteps, inputs, correction, **how):
        """Call `_infer` for the part seen of trials whose inputs extend beyond it."""
        check_is_fitted(self, "hypernetwork_")
        if isinstance(correction, str):
            check_option(correction, "correction", ("auto",), ", or a number from 0 to 1")
            correction = self._model.observation.correction if self.n_inputs_ else 0.0
        check_number(correction, "correction", low=0, high=1)
        return self._infer(X, inputs, n_timesteps, correction=float(correction), **how)

    @isolated
    def score(self, X, y=None, *, inputs=None):
        """Compute the R2 of free runs (D2 for spike counts) over all trials and neurons.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity, as in ``transform``.
        y : None
            Ignored.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, as in ``transform``.

        Returns
        -------
        float
            ``1 - SSE / SST``, with SST about each neuron's mean over `X`, both over samples that
            are not missing: the variance-weighted R2 of scikit-learn. With ``scale="neuron"`` it
            is that of the scaled activity, so that all neurons count alike. For spike counts it
            is D2, the share of the Poisson deviance about each neuron's mean that is explained;
            if bins hold few spikes, it is far below 1 for any model.
        """
        X, _, found = self._infer(X, inputs)
        r2 = free_run_r2(X, found.deviance, self._model.observation)
        share = self._model.observation.share
        self._say(describe_gap(r2, getattr(self, "_training_r2", None), share))
        return r2

    @isolated
    def score_samples(self, X, *, inputs=None):
        """Compute the R2 (D2 for spike counts) of the free run of each trial.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity, as in ``transform``.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, as in ``transform``.

        Returns
        -------
        ndarray of shape (n_trials,)
            ``1 - SSE / SST``, with SST about the neurons' means in the training data.
        """
        X, _, found = self._infer(X, inputs)
        return self._trial_r2(X, found.deviance)

    @isolated
    def dynamics(self, X, *, inputs=None):
        """Infer the RNNs of trials.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity, as in ``transform``.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, as in ``transform``.

        Returns
        -------
        RNNBatch
            One RNN per trial, with the initial state, the length and the inputs of its free run.
            If X is padded, ``rnns.lengths`` holds the length of each trial. States are
            ``to_states(activity)``. Time is in steps of the RNN:
            ``rnns.free_run()[:, ::est.steps_per_sample_]`` are the samples.
        """
        X, inputs, found = self._infer(X, inputs, starts=True)
        return self._rnns(found.p[:, : self.n_components_], found, X.shape[1], inputs)

    @isolated
    def generate_rnns(self, E, initial_state=None, n_timesteps=None, *, inputs=None):
        """Generate the RNNs of embeddings.

        Parameters
        ----------
        E : array-like of shape (n_trials, n_components)
            Embeddings.
        initial_state : array-like of shape (n_neurons,) or (n_trials, n_neurons), optional
            Initial states of the free runs, as in ``inverse_transform``.
        n_timesteps : int, optional
            Number of samples of the free runs, as in ``inverse_transform``.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs of the free runs. Optional here even if the model was fitted with inputs.

        Returns
        -------
        RNNBatch
            One RNN per embedding. States are ``to_states(activity)``.
        """
        run = self._check_free_run(E, initial_state, n_timesteps, inputs, needed=False)
        E, x0, n_timesteps, inputs = run
        run = {"initial_states": x0, "n_timesteps": n_timesteps, "inputs": inputs}
        return self._model.rnns(E, **run)

    def _rnns(self, embedding, found, n_timesteps, inputs):
        """Make RNNs with the initial states and lengths (without padding) of their trials."""
        run = {"initial_states": found.x0, "n_timesteps": n_timesteps, "inputs": inputs}
        return self._model.rnns(embedding, **run, lengths=found.lengths)

    def _infer(self, X, inputs=None, n_later=0, **how):
        """Check trials and inputs (with `n_later` more samples), and infer the embeddings."""
        check_is_fitted(self, "hypernetwork_")
        X = self._check_X(X)
        whole = np.broadcast_to(np.nan, (len(X), X.shape[1] + n_later, 0)) if n_later else X
        inputs = check_inputs_of_trials(inputs, whole, self.n_inputs_)
        how["n_init"] = setting(self, "n_init")
        check_number(how["n_init"], "n_init", numbers.Integral, low=1)
        found = self._model.infer(X, resolve_device(self.device), inputs, **how)
        self._warn_of_units(X, float(found.distance))
        warn_unconverged(found.converged)
        return X, inputs, found

    def _trial_r2(self, X, deviance):
        total = [self._model.observation.null_deviance_of(trial) for trial in X]
        return np.array([one_less(*pair) for pair in zip(deviance, total, strict=True)])

    def _check_free_run(self, E, initial_state, n_timesteps, inputs, needed=True):
        """Check embeddings and the initial states (scaled), length and inputs of free runs."""
        E = self._check_embeddings(E)
        if n_timesteps is None:
            given = None if inputs is None else as_plain_array(inputs, "inputs")
            whole = given is not None and given.ndim == 3
            n_timesteps = given.shape[1] if whole else self.n_timesteps_
        check_number(n_timesteps, "n_timesteps", numbers.Integral, low=1)
        if initial_state is not None:
            x0 = as_numbers(initial_state, "initial_state")
        elif self._model.initial_state.generated:
            x0 = self._model.observation.activity(self._model.first_states(E))
        else:
            x0 = self._mean_initial_state
        if x0.shape not in ((self.n_features_in_,), (len(E), self.n_features_in_)):
            raise ValueError(
                f"initial_state must have shape ({self.n_features_in_},) or "
                f"({len(E)}, {self.n_features_in_}), got {x0.shape}."
            )
        if not np.isfinite(x0).all():
            raise ValueError("initial_state holds NaN or infinite values.")
        x0 = np.broadcast_to(self.to_states(x0), (len(E), self.n_features_in_))
        if inputs is not None or needed:
            wanted = np.broadcast_to(np.nan, (len(E), n_timesteps, 0))
            inputs = check_inputs_of_trials(inputs, wanted, self.n_inputs_)
        return E, x0, n_timesteps, inputs

    def _check_embeddings(self, E):
        check_is_fitted(self, "hypernetwork_")
        E = as_numbers(E, "Embeddings").copy()  # torch rejects negative strides and read-only
        if E.ndim != 2 or E.shape[1] != self.n_components_:
            hint = ""
            if self.output == "both" and E.ndim == 2 and E.shape[1] == self._n_features_out:
                hint = f' With output="both" they are the first {self.n_components_} columns.'
            raise ValueError(
                f"Embeddings must have shape (n_trials, n_components = {self.n_components_}), "
                f"got {E.shape}.{hint}"
            )
        if not np.isfinite(E).all():
            raise ValueError("Embeddings hold NaN or infinite values.")
        return E

    # ------------------------------------------------------------------------------- units

    def to_states(self, X):
        """Convert activity to states of the RNNs: ``(X - mean_) / scale_``.

        Parameters
        ----------
        X : array-like of shape (..., n_neurons)
            Activity, such as trials of shape (n_trials, n_timesteps, n_neurons), or one sample of
            shape (n_neurons,). NaN stays NaN.

        Returns
        -------
        ndarray of the shape of `X`
            States in the units of ``RNNBatch``: training SDs, unless ``scale=None``.

        Examples
        --------
        >>> import numpy as np
        >>> from jedi_sklearn import JEDIEstimator
        >>> from jedi_sklearn.datasets import make_multitask
        >>> X = make_multitask(n_trials=40, n_neurons=50, random_state=0).X
        >>> est = JEDIEstimator(n_components=6, rank=12, max_iter=100, tol=0.1, random_state=0)
        >>> states = est.fit(X[:30]).to_states(X[30:])
        >>> states.shape
        (10, 150, 50)
        >>> np.allclose(est.to_activity(states), X[30:])
        True
        """
        return self._model.observation.states(self._check_units(X, "X"))

    def to_activity(self, states):
        """Convert states of the RNNs to activity, the inverse of ``to_states``.

        Parameters
        ----------
        states : array-like of shape (..., n_neurons)
            States, such as runs of an ``RNNBatch`` or its fixed points. NaN stays NaN.

        Returns
        -------
        ndarray of the shape of `states`
            Activity in the units of `X`.

        Examples
        --------
        >>> import numpy as np
        >>> from jedi_sklearn import JEDIEstimator
        >>> from jedi_sklearn.datasets import make_multitask
        >>> X = make_multitask(n_trials=40, n_neurons=50, random_state=0).X
        >>> est = JEDIEstimator(n_components=6, rank=12, max_iter=100, tol=0.1, random_state=0)
        >>> rnns = est.fit(X[:30]).dynamics(X[32:])
        >>> np.allclose(est.to_activity(rnns.free_run()), est.predict(X[32:]))
        True
        """
        states = self._check_units(states, "states")
        size = np.nansum(np.square(states)) / max(np.isfinite(states).sum(), 1)
        if self.scale is not None and size > FAR:
            warn_user(
                f"These states are {size**0.5:.0f} SDs from the training data on average. Are "
                "they activity in the units of X? to_activity expects states, such as "
                "rnns.free_run()."
            )
        return self._model.observation.activity(states)

    def _check_units(self, values, name):
        """Check that the last axis of an array of numbers is that of the neurons."""
        check_is_fitted(self, "hypernetwork_")
        values = as_numbers(values, name)
        if not values.ndim or values.shape[-1] != self.n_features_in_:
            raise ValueError(
                f"{name} must have shape (..., n_neurons = {self.n_features_in_}), got "
                f"{values.shape}."
            )
        return values

    def _warn_of_units(self, X, distance):
        """Warn if X is much larger or smaller than the training data, or starts far from it."""
        if self.scale is None or self._two_d:
            return
        problem = None
        # a short part of a trial, such as the baseline before a forecast, may differ in size
        if 2 * X.shape[1] >= self.n_timesteps_:
            size = self._model.observation.relative_size(X)
            if size and not 1 / OTHER_SIZE <= size <= OTHER_SIZE:  # no choice of units gives 0
                problem = f"X is {size:.2g} times as large as the training data"
        if problem is None and distance > FAR:
            problem = (
                f"The first samples of X are {distance**0.5:.0f} SDs from the training data on "
                "average"
            )
        if problem is not None:
            warn_user(f"{problem}. Is X in the same units, with the same preprocessing?")


def warn_unconverged(converged):
    """Warn of trials whose inference did not converge."""
    if not converged.all():
        bad = np.flatnonzero(~converged)
        warn_user(
            f"The embeddings of {len(bad)} of {len(converged)} trials did not converge, the first "
            f"of them that of trial {bad[0]}. They are the best ones found. The model may not "
            "describe these trials: compare score_samples, or raise n_init.",
            ConvergenceWarning,
        )
