"""JEDIEstimator: parameters, checks, and the order of the steps of a fit."""

from __future__ import annotations

import copy
import numbers
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from ._adapt import adapt, check_adapts
from ._advice import describe_gap, describe_spread
from ._components import RunComponents
from ._distributed import ALONE, join
from ._fit import STRUCTURE, fit_model, free_run_r2
from ._observation import OBSERVATIONS
from ._parameters import check_parameters, choose_labels, option_of
from ._persistence import load_estimator, save_estimator
from ._plausible import warn_of_axes, warn_of_zeros
from ._stored import part
from ._torch import isolated, resolve_device
from ._trials import one_less
from ._validation import (
    as_numbers,
    as_plain_array,
    check_inputs_of_trials,
    check_number,
    check_option,
    check_trials,
    setting,
    warn_user,
)

__all__ = ["JEDIEstimator"]

# Units: mean square, in training SDs, of samples that hardly come from the same recording, and how
# often the size of activity that of the training data, or the other way round
FAR, OTHER_SIZE = 100, 10


class JEDIEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Jointly Embedded Inference of Neural Dynamics.

    A hypernetwork maps an embedding of every trial to the weights of an RNN whose free run
    reproduces that trial's population activity. ``transform`` infers the embeddings of trials
    never seen, ``score`` is the R2 of their free runs, and ``dynamics`` returns the RNNs.
    After a fit, `output`, `device`, `n_init` and `verbose` may be changed without fitting again;
    other parameters have no effect before the next fit.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Size of the embedding. "auto" is the number of principal components of whole trials that
        help to predict neurons not seen, in trials left out (docs/model.md, eq. 16), but at most
        24. With fewer than 16 trials, or one embedding a condition, it is one less than the number
        of embeddings, at most 24.
    rank : int or "auto", default="auto"
        Rank of the connectivity. "auto" is the number of principal components of single samples
        that help to predict neurons not seen, at least as many as those of whole trials (but 24),
        at most 40; 40 with fewer than 16 trials, which do not tell.
    connectivity : {"shared", "low_rank", "full_rank"}, default="shared"
        Form of the weights J of an RNN with embedding c: ``U G(c) V^T`` with bases common to
        all trials, ``U(c) V(c)^T``, or dense ``J(c)``.
    hypernetwork : {"linear", "mlp"}, default="linear"
        Affine in the embedding, or with a multilayer perceptron beside the affine path.
    hidden_layer_sizes : tuple of int, default=(64,)
        Hidden layers of the "mlp" hypernetwork (tanh).
    embedding : {"trial", "condition"}, default="trial"
        One embedding per trial, or one shared by the trials of a condition, during the fit.
        ``transform`` infers one per trial in either case.
    initial_state : {"auto", "generated", "inferred", "observed"}, default="auto"
        Where free runs start. "auto" is "generated", but "observed" with known inputs or with one
        embedding a condition. "generated": where the embedding says, so that it determines the
        whole free run. "inferred": at the mean plus a few shared directions, whose coordinates are
        inferred with the embedding but are not part of it. "observed": at the first sample, noise
        and all, which suits clean trials that start in more ways than an embedding holds.
    dt : float, default=0.01
        Sampling interval of the data, s.
    tau : float, default=0.1
        Time constant of the RNN's neurons, s.
    steps_per_sample : int or "auto", default="auto"
        Steps of the dynamics from one sample to the next, so that bins may be as long as `tau` or
        longer: a step takes ``dt / steps_per_sample``, which is the `dt` of the RNNs. "auto" is
        the smallest number with steps of at most ``tau / 2``, which is 1 if `dt` is at most
        ``tau / 2``; where that takes more than 20 the units of `dt` and `tau` are in doubt, and
        the fit is refused. Time and memory of a fit grow with it.
    observation : {"auto", "gaussian", "poisson"}, default="auto"
        What X holds. "poisson": spike counts per bin, as they were recorded; the RNNs generate
        log rates, and the free runs are as likely as can be for Poisson counts. "gaussian": rates
        or any other continuous signal, of which the squared error is minimised. "auto" is
        "poisson" where X holds nothing but whole numbers from 0 to 100.
    scale : {"global", "neuron"} or None, default="global"
        The model sees the activity less each neuron's mean, divided by one common SD
        ("global") or by each neuron's SD ("neuron"), or untouched (None). Undone on output. Of
        spike counts it is their logarithm that is scaled, and "global" means units in which the
        noise of all neurons is alike: proportional to the root of one over the mean count.
    solver : {"annealed", "paper"}, default="annealed"
        Closed-form start and annealed teacher forcing, or random start and Adam on the free
        run, as in the paper.
    max_iter : int, default=400
        Gradient steps.
    learning_rate_init : float, default=0.005
        Learning rate of Adam at the start; it falls to 0 as a half cosine.
    teacher_forcing : float, default=0.1
        Share of the data mixed into the state at the start of the fit; it goes to
        `final_teacher_forcing` over the first half of the steps. Not used by the "paper" solver.
    final_teacher_forcing : float or "auto", default="auto"
        Share of the data mixed in from then on. 0 minimises the error of the free run itself.
        With a little the fit is not led by noise that unstable dynamics amplify, and comes closer
        to the true weights where it can know them. "auto" is half of `teacher_forcing` with known
        inputs, else 0. Not used by the "paper" solver.
    batch_size : int or "auto", default="auto"
        Trials per gradient step; "auto" is 200, fewer (but at least 16) where these have more than
        2^24 values together, or all trials where there are no more.
    n_init : int, default=2
        Starts in the inference of an embedding; the best one counts. With shared connectivity
        1 or 2, and more for trials that these do not serve (docs/model.md).
    tol : float, default=1e-3
        The fit has converged when R2 rose by less over the last tenth of the steps. With
        `early_stopping`, the least rise of the validation R2 that counts.
    early_stopping : bool, default=False
        Leave out a share of the trials, stop when their R2 no longer rises, and return to the
        best state.
    validation_fraction : float, default=0.1
        Share of trials left out for `early_stopping`.
    n_iter_no_change : int, default=2
        Looks at the validation R2 (one every tenth of `max_iter`) without a rise before the
        fit stops.
    warm_start : bool, default=False
        Go on from the fitted model, if there is one, instead of a closed-form or random start:
        the embeddings of the trials given, the same or others of the same neurons, are inferred,
        and training makes `max_iter` more steps with 0.3 times the learning rate. Sizes ("auto"
        keeps them), form of the weights, `initial_state`, `dt`, `tau` and `scale` must be the
        same; `scale_` stays what it was, and so does `mean_`, but for spike counts, of which it
        is fitted.
    checkpoint : str, path or None, default=None
        File that keeps the state of the training, replaced 20 times during a fit and removed
        when it is complete. ``fit`` with the same data and parameters goes on from it, with the
        result of an uninterrupted fit. The file of another fit is refused.
    output : {"embedding", "trajectory", "dynamics"}, default="embedding"
        What ``transform`` returns: the embeddings; the principal components of the free runs, as
        many as have 99 % of their variance in the training trials; or an :class:`RNNBatch` for the
        analyzers.
    device : str, default="auto"
        Torch device; "auto" is CUDA where there is one. Fitted models are kept on the CPU.
    distributed : bool, default=False
        Share the work of ``fit`` among the processes of torch.distributed, each of which calls it
        with the same arguments: docs/scaling.md. All end with the same model.
    random_state : int, RandomState or None, default=None
        Fixes random starts, mini-batches and validation trials: two fits with the same int
        are bit-identical on one machine.
    verbose : bool, default=False
        Show progress (a bar where tqdm is installed), why sizes were chosen, and signs of a model
        that is too large for its data.
    forcing, final_forcing, n_starts : "deprecated"
        Old names of `teacher_forcing`, `final_teacher_forcing` and `n_init`. They still work, with
        a FutureWarning, and go in version 0.2.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_trials, n_components)
        Embeddings of the training trials, as ``transform`` gives them: zero mean, uncorrelated
        components that move the generated activity less and less. The SD of the last is 1; the
        others are as much larger as the fourth root of their effect is (docs/model.md, eq. 10).
    conditions_ : ndarray of shape (n_conditions,)
        Sorted condition labels, where conditions were given.
    condition_embeddings_ : ndarray of shape (n_conditions, n_components)
        Mean embedding of each condition, where conditions were given.
    loss_curve_ : list of float
        1 - R2 (of spike counts 1 - D2) of the (forced) run at each step of the last fit.
    validation_curve_ : list of (int, float)
        Step and R2, or D2, of the validation trials, with `early_stopping`.
    n_iter_ : int
        Gradient steps made.
    converged_ : bool
        Whether training converged.
    noise_variance_ : float
        Variance of the free run's residuals on the training trials, in scaled units, or of spike
        counts in units of what they are expected to be (1 for Poisson counts); on at most 512 of
        the trials where training does not end with the embeddings of free runs (docs/model.md).
    autocorrelation_time_ : float
        Samples in time that carry the information of one independent residual; the posterior
        counts the data that much less.
    observation_ : {"gaussian", "poisson"}
        What X was taken as.
    mean_, scale_ : ndarray of shape (n_neurons,)
        ``(X - mean_) / scale_``, or ``to_states(X)``, is what the RNNs generate; with spike counts
        expected ones are ``exp(mean_ + scale_ * states)``, or ``to_activity(states)``.
    n_components_, rank_ : int
        Sizes used.
    steps_per_sample_ : int
        Steps used, from one sample to the next.
    n_features_in_ : int
        Number of neurons.
    n_inputs_ : int
        Channels of known input, 0 without.
    n_timesteps_ : int
        Samples per training trial.
    hypernetwork_ : torch.nn.Module
        The trained hypernetwork, float64, on the CPU.

    Raises
    ------
    ValueError, TypeError
        In ``fit``, for data or parameters that cannot be used; the text says what to try.
    FloatingPointError
        In ``fit``, when training diverges. The estimator keeps what it was.
    KeyboardInterrupt
        In ``fit``, after Ctrl-C: the estimator is fitted as far as training came, and says so in a
        warning. A second Ctrl-C leaves it as it was.

    Warns
    -----
    ConvergenceWarning
        When training or the inference of some trials has not converged, with cause and remedy.
    UserWarning
        For data or parameters that are hardly what was meant, such as `dt` and `tau` in ms.

    References
    ----------
    Jamkhandi, Korojy, Codol, Lajoie, Perich (2026), "JEDI: Jointly Embedded Inference of Neural
    Dynamics", arXiv:2603.10489. Estimation differs: docs/model.md says how and why.

    Examples
    --------
    >>> from jedi_sklearn import JEDIEstimator
    >>> from jedi_sklearn.datasets import make_multitask
    >>> data = make_multitask(n_trials=40, n_neurons=50, random_state=0)
    >>> est = JEDIEstimator(n_components=4, rank=12, max_iter=100, tol=0.1, random_state=0)
    >>> est.fit(data.X, data.task).transform(data.X).shape
    (40, 4)
    >>> est.dynamics(data.X[:2])
    RNNBatch(n_rnns=2, n_neurons=50, rank=12, connectivity='shared', dt=0.01, tau=0.1)
    """

    def __init__(
        self,
        n_components="auto",
        rank="auto",
        *,
        connectivity="shared",
        hypernetwork="linear",
        hidden_layer_sizes=(64,),
        embedding="trial",
        initial_state="auto",
        dt=0.01,
        tau=0.1,
        steps_per_sample="auto",
        observation="auto",
        scale="global",
        solver="annealed",
        max_iter=400,
        learning_rate_init=5e-3,
        teacher_forcing=0.1,
        final_teacher_forcing="auto",
        batch_size="auto",
        n_init=2,
        tol=1e-3,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=2,
        warm_start=False,
        checkpoint=None,
        output="embedding",
        device="auto",
        distributed=False,
        random_state=None,
        verbose=False,
        forcing="deprecated",
        final_forcing="deprecated",
        n_starts="deprecated",
    ):
        self.n_components = n_components
        self.rank = rank
        self.connectivity = connectivity
        self.hypernetwork = hypernetwork
        self.hidden_layer_sizes = hidden_layer_sizes
        self.embedding = embedding
        self.initial_state = initial_state
        self.dt = dt
        self.tau = tau
        self.steps_per_sample = steps_per_sample
        self.observation = observation
        self.scale = scale
        self.solver = solver
        self.max_iter = max_iter
        self.learning_rate_init = learning_rate_init
        self.teacher_forcing = teacher_forcing
        self.final_teacher_forcing = final_teacher_forcing
        self.batch_size = batch_size
        self.n_init = n_init
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.output = output
        self.device = device
        self.distributed = distributed
        self.random_state = random_state
        self.verbose = verbose
        self.forcing = forcing
        self.final_forcing = final_forcing
        self.n_starts = n_starts

    # Private, for the common checks of scikit-learn, which know arrays of two axes only: with
    # True in a subclass X is 2-D, and each row is a trial of one step from zero.
    _two_d = False

    def __sklearn_tags__(self):
        """Input has three axes, and NaN where a sample is missing."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self._two_d
        tags.input_tags.three_d_array = tags.input_tags.allow_nan = not self._two_d
        return tags

    @property
    def observation_(self):
        """What X was taken as: a name of an observation."""
        if "_model" not in vars(self):
            raise AttributeError("observation_ is known after a fit.")
        return option_of(self._model.observation, OBSERVATIONS)

    @property
    def steps_per_sample_(self):
        """Steps of the dynamics from one sample to the next."""
        if "_model" not in vars(self):
            raise AttributeError("steps_per_sample_ is known after a fit.")
        return self._model.steps_per_sample

    @property
    def noise_inflation_(self):
        """Old name of `autocorrelation_time_`."""
        if "_model" not in vars(self):
            raise AttributeError("noise_inflation_ is now called autocorrelation_time_.")
        text = "noise_inflation_ is now called autocorrelation_time_. The old name goes in 0.2."
        warn_user(text, FutureWarning)
        return self.autocorrelation_time_

    def _check_X(self, X, fit=False, processes=ALONE):
        if self._two_d:
            X = validate_data(self, X, reset=fit, dtype=float, ensure_min_samples=1 + fit)
            return np.stack([np.zeros_like(X), X], axis=1)
        if getattr(X, "in_memory", False) and not np.isclose(X.dt, self.dt, rtol=1e-6):
            raise ValueError(
                f"X is a recording of samples {X.dt:g} s apart, but the estimator has "
                f"dt={self.dt:g}. Make it with dt=rec.dt, here JEDIEstimator(dt={X.dt:g})."
            )
        if fit:
            return check_trials(X, min_trials=2, missing=True, stored=True, processes=processes)
        X = check_trials(X, n_neurons=self.n_features_in_, missing=True, stored=True)
        self._model.observation.check(X)
        return X

    # ----------------------------------------------------------------------------- fitting

    @isolated
    def fit(self, X, y=None, *, conditions=None, inputs=None):
        """Fit hypernetwork and embeddings.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity: spike counts in bins of `dt` seconds, or rates or any continuous signal,
            every `dt` seconds. NaN where a sample is missing: the end of a shorter trial, a
            neuron that was not recorded. A large ``np.memmap``, or other array that is not in
            memory, is read some trials at a time. Groups of neurons that no trial links, as those
            of sessions, need labels that they share.
        y : array-like of shape (n_trials,), optional
            Labels, taken as conditions unless `conditions` are given. A continuous `y`, as of
            a regression, or one of several columns is ignored; so are, with a warning, whole
            numbers of which more than 20, and more than half as many as trials, are different.
        conditions : array-like of shape (n_trials,), optional
            Task or condition of each trial. They centre the prior of the embeddings during
            the fit; the embeddings of ``transform`` never see them.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs: sample t drives the step to t + 1 through input weights common to all
            trials. Embeddings need not explain them then; every later call needs them too.

        Returns
        -------
        self
        """
        self._fit(X, y, conditions, inputs)
        return self

    def _fit(self, X, y, conditions, inputs):
        """Fit, and return what was inferred of the training trials."""
        check_parameters(self)
        processes = join(self.distributed)
        X = self._check_X(X, fit=True, processes=processes)
        if processes.rank == 0 and not self._two_d:
            warn_of_axes(X)
            warn_of_zeros(part(X, processes.slice(len(X))))
        previous = getattr(self, "_model", None) if self.warm_start else None
        fit = fit_model(self, X, y, conditions, inputs, previous, processes)
        model, embedding, found, labels = fit.model, fit.embedding, fit.found, fit.labels
        observation, trajectory = model.observation, None
        if self.output == "trajectory":
            run = (found.x0, X.shape[1], inputs)
            trajectory = RunComponents.learn(_blocks_of_runs(model, embedding, *run))

        # nothing above touched self: a fit that fails leaves the estimator as it was
        self.n_features_in_ = X.shape[2]
        self.n_timesteps_ = X.shape[1]
        self.n_components_ = embedding.shape[1]
        self.rank_ = model.connectivity.rank
        self.mean_, self.scale_ = (
            a.detach().numpy().copy() for a in (observation.mean, observation.scale)
        )
        self.hypernetwork_ = model.hypernetwork
        self.noise_variance_ = float(observation.noise)
        self.autocorrelation_time_ = model.autocorrelation_time
        self._model = model
        self._structure = {name: getattr(self, name) for name in STRUCTURE}
        self._mean_initial_state = observation.activity(found.first)
        self.embedding_ = embedding
        self._training_r2, self._trajectory = fit.training_r2, trajectory
        self.n_inputs_ = len(model.input_scale)
        self.loss_curve_ = fit.training.loss_curve
        self.validation_curve_ = fit.training.validation_curve
        self.n_iter_ = len(self.loss_curve_)
        self.converged_ = fit.training.converged
        for name in ("conditions_", "condition_embeddings_"):
            self.__dict__.pop(name, None)
        if labels is not None:
            self.conditions_ = labels
            self.condition_embeddings_ = np.stack(
                [embedding[fit.codes == i].mean(axis=0) for i in range(len(labels))]
            )
        try:
            if fit.training.complaint:
                warn_user(fit.training.complaint, ConvergenceWarning)
            _warn_unconverged(found.converged)
        finally:
            if fit.training.interrupted:  # self is usable; what called fit is to stop
                raise KeyboardInterrupt
        return found

    @isolated
    def fit_transform(self, X, y=None, *, conditions=None, inputs=None):
        """Fit and return what ``fit(X, y).transform(X)`` would, without inferring it twice.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
        y, conditions, inputs :
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_trials, n_features), or RNNBatch
        """
        found = self._fit(X, y, conditions, inputs)
        return self._output(self.embedding_, found, self.n_timesteps_, inputs)

    @isolated
    def adapt(self, X, y=None, *, conditions=None, inputs=None):
        """Let neurons of a new session join the fitted model; return an estimator that has them.

        All that was fitted stays what it is: the new neurons are read out of the dynamics and
        drive nothing. Embeddings of earlier trials, NaN in the new columns, are the same bit by
        bit. The weights of the new neurons follow from the free runs of the embeddings of their
        conditions, and then of those of the new trials themselves (docs/model.md, eq. 19).

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Trials of the new session: first the neurons of the fit, NaN where they were not
            recorded, and then the new ones
            (:func:`~jedi_sklearn.preprocessing.place_neurons` puts them there).
        y : array-like of shape (n_trials,), optional
            Labels, taken as conditions unless `conditions` are given.
        conditions : array-like of shape (n_trials,), optional
            Condition of each trial, of which some must be conditions of the fit. Not needed where
            neurons of the fit were recorded in the trials.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, if and only if the fit had them.

        Returns
        -------
        JEDIEstimator
            A fitted copy whose `X` has the new neurons as well; ``self`` stays as it was.

        Raises
        ------
        ValueError
            If nothing tells what the new trials have in common with those of the fit, or the fit
            has other than shared bases and generated initial states.
        ValueError, TypeError
            For data that cannot be used, as in ``fit``.

        Warns
        -----
        ConvergenceWarning
            When the inference of some trials has not converged.

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
                f"X must hold the {n_known} neurons of the fit (NaN where they were not recorded) "
                f"and then the new ones, got {X.shape[2]} neurons. See "
                "preprocessing.place_neurons."
            )
        inputs = check_inputs_of_trials(inputs, X, self.n_inputs_)
        model.observation.check(X)
        warn_of_zeros(X)
        labels, codes = choose_labels(self, y, conditions, len(X))
        each = None if labels is None else labels[codes].tolist()
        fitted = {}
        if hasattr(self, "conditions_"):
            labels = self.conditions_.tolist()
            fitted = dict(zip(labels, self.condition_embeddings_, strict=True))
        how = (self._structure["scale"], resolve_device(self.device))
        joined, converged = adapt(model, X, each, fitted, inputs, *how)

        if not self.n_inputs_:
            self._run_components()  # of the neurons that it has
        made = copy.deepcopy(self)
        made._model, made.hypernetwork_ = joined, joined.hypernetwork
        made.n_features_in_ = X.shape[2]
        made.mean_, made.scale_ = (
            a.numpy().copy() for a in (joined.observation.mean, joined.observation.scale)
        )
        if not converged.all():
            bad = np.flatnonzero(~converged)
            warn_user(
                "The weights of the new neurons were fitted to the embeddings of "
                f"{len(converged)} trials, of which {len(bad)} did not converge, first that of "
                f"trial {bad[0]}. The model may not describe these trials: compare "
                "score_samples, and leave out those that it does not describe.",
                ConvergenceWarning,
            )
        return made

    # --------------------------------------------------------------------- unseen trials

    # not metadata: a number of workers is nothing to route
    __metadata_request__transform: ClassVar = {"n_jobs": UNUSED}

    @isolated
    def transform(self, X, *, inputs=None, n_jobs=None):
        """Infer the embeddings of trials from their activity alone.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Any number of samples per trial, at the interval `dt`; NaN where one is missing.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, if and only if the fit had them.
        n_jobs : int, optional
            Workers of joblib that share the trials. None is what an enclosing
            ``joblib.parallel_config`` says, as it does for all other methods; else as many
            threads as torch has, where each has 64 trials or more. The result does not depend on
            it, but for rounding if workers have several threads each.

        Returns
        -------
        ndarray of shape (n_trials, n_features), or RNNBatch
            With ``output="embedding"`` the posterior modes, (n_trials, n_components); with
            "trajectory" the principal components of their free runs; with "dynamics" their RNNs.
            Each depends on its own trial only.
        """
        how = {"starts": self.output != "embedding", "n_jobs": n_jobs}
        X, inputs, found = self._infer(X, inputs, **how)
        self._say(describe_spread(found.p[:, : self.n_components_], self.embedding_))
        return self._output(found.p[:, : self.n_components_], found, X.shape[1], inputs)

    def set_output(self, *, transform=None):
        """Choose the container of ``transform``, as in scikit-learn.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None

        Returns
        -------
        self
            With ``output="dynamics"`` unchanged: RNNs are not columns.
        """
        if self.output == "dynamics":
            return self
        return super().set_output(transform=transform)

    @available_if(lambda self: self.output != "dynamics")
    def get_feature_names_out(self, input_features=None):
        """Names of the components: "jediestimator0", ...

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            Not available with ``output="dynamics"``: RNNs are not columns, and scikit-learn
            then leaves them as they are, whatever ``set_output`` asks for.
        """
        return super().get_feature_names_out(input_features)

    def _output(self, embedding, found, n_timesteps, inputs):
        if self.output == "dynamics":
            return self._rnns(embedding, found, n_timesteps, inputs)
        if self.output == "trajectory":
            components = self._run_components()
            if inputs is not None and n_timesteps != self.n_timesteps_:
                raise ValueError(
                    f'output="trajectory" compares free runs of {self.n_timesteps_} samples, as '
                    f"in the fit: with inputs trials need as many, got {n_timesteps}."
                )
            run = (found.x0, self.n_timesteps_, inputs)
            return components(_blocks_of_runs(self._model, embedding, *run))
        return embedding.copy()

    def _rnns(self, embedding, found, n_timesteps, inputs):
        """RNNs that know start and length of their trials, padding left out."""
        run = {"initial_states": found.x0, "n_timesteps": n_timesteps, "inputs": inputs}
        return self._model.rnns(embedding, **run, lengths=found.lengths)

    @isolated
    def _run_components(self):
        """The components of the training trials' free runs, made when first asked for."""
        if getattr(self, "_trajectory", None) is None:  # older files have none
            if not self._model.initial_state.generated or self.n_inputs_:
                raise ValueError(
                    'output="trajectory" needs the free runs of the training trials, and their '
                    "inputs or initial states were not kept. Fit with this output, or use "
                    'initial_state="generated" without inputs.'
                )
            x0 = self._model.first_states(self.embedding_)
            run = (x0, self.n_timesteps_, None)
            runs = _blocks_of_runs(self._model, self.embedding_, *run)
            self._trajectory = RunComponents.learn(runs)
        return self._trajectory

    @property
    def _n_features_out(self):
        """Columns of what ``transform`` returns."""
        if self.output == "trajectory":
            return len(self._run_components().axes)
        return self.n_components_

    @isolated
    def posterior(self, X, *, inputs=None):
        """Embeddings of trials with their uncertainty.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            As in ``transform``.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            As in ``transform``.

        Returns
        -------
        Bunch
            - ``mean`` (n_trials, n_components): as from ``transform``,
            - ``covariance`` (n_trials, n_components, n_components): of ``mean`` under the
              noise of the trial, with the residuals' variance of each neuron and their
              correlation in time as in the training data (docs/model.md, eq. 11),
            - ``initial_state`` (n_trials, n_neurons): where the free runs start,
            - ``r2`` (n_trials,): as from ``score_samples``,
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
        """Activity generated from embeddings: the free runs of their RNNs.

        Parameters
        ----------
        E : array-like of shape (n_trials, n_components)
        initial_state : array-like of shape (n_neurons,) or (n_trials, n_neurons), optional
            Start of the free runs, in the units of `X`. By default what the embeddings say; with
            ``initial_state="inferred"`` or "observed" in the fit, the mean of the training trials.
        n_timesteps : int, optional
            Samples to generate, the initial state included; as many as `inputs` have, or the
            training trials, by default.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, if and only if the fit had them.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            In the units of `X`.
        """
        E, x0, n_timesteps, inputs = self._check_free_run(E, initial_state, n_timesteps, inputs)
        return self._model.generate(E, x0, n_timesteps, inputs)

    @isolated
    def predict(self, X, *, inputs=None, per_second=False):
        """Free runs of trials: their RNNs, started where ``posterior`` says.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            As in ``transform``.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            As in ``transform``.
        per_second : bool, default=False
            Rates in spikes/s instead of expected counts per bin, if X holds spike counts.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            In the units of `X`; of spike counts what is expected in each bin.
        """
        check_is_fitted(self, "hypernetwork_")
        if per_second and self.observation_ != "poisson":
            raise ValueError(
                'per_second=True is for spike counts (observation="poisson"); this model returns '
                "activity in the units of X. Leave it out."
            )
        X, inputs, found = self._infer(X, inputs, starts=True)
        embedding = found.p[:, : self.n_components_]
        run = self._model.generate(embedding, found.x0, X.shape[1], inputs)
        return run / self.dt if per_second else run

    @isolated
    def forecast(self, X, n_timesteps, *, inputs=None, correction="auto"):
        """What follows trials: their RNNs run on from the last sample.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_seen, n_neurons)
            As in ``transform``: what is seen of the trials.
        n_timesteps : int
            Samples to forecast.
        inputs : array-like of shape (n_trials, n_seen + n_timesteps, n_inputs), optional
            Known inputs, if and only if the fit had them: of what is seen and of what follows.
        correction : float or "auto", default="auto"
            Share of the difference to each sample seen that the run takes in on its way, while
            the embedding is inferred and up to the state that the forecast sets out from. With 0
            it goes on from the end of the free run of ``predict``, with 1 from the last sample.
            A little averages the noise of single samples, and keeps small errors from growing
            where the dynamics are unstable (a Kalman filter of fixed gain). "auto" is 0.1, and 0
            for spike counts, of which the smoothed samples lean to the mean.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            In the units of `X`.

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
        embedding, last, inputs = self._follow(X, n_timesteps, inputs, correction)
        return self._model.generate(embedding, last, n_timesteps + 1, inputs)[:, 1:]

    def _follow(self, X, n_timesteps, inputs, correction):
        """Embeddings, states at the last sample (scaled), and inputs from there on."""
        check_is_fitted(self, "hypernetwork_")
        if isinstance(correction, str):
            check_option(correction, "correction", ("auto",), ", or a number from 0 to 1")
            correction = self._model.observation.correction
        check_number(correction, "correction", low=0, high=1)
        later = None
        if inputs is not None or self.n_inputs_:
            X = self._check_X(X)
            whole = np.broadcast_to(np.nan, (len(X), X.shape[1] + n_timesteps, 0))
            inputs = check_inputs_of_trials(inputs, whole, self.n_inputs_)
            inputs, later = inputs[:, : X.shape[1]], inputs[:, X.shape[1] - 1 :]
        _, _, found = self._infer(X, inputs, correction=float(correction))
        return found.p[:, : self.n_components_], found.last, later

    @isolated
    def score(self, X, y=None, *, inputs=None):
        """R2 of the free runs, or D2 of spike counts, over all trials, samples and neurons.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            As in ``transform``.
        y : None
            Ignored.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            As in ``transform``.

        Returns
        -------
        float
            ``1 - SSE / SST``, with SST about each neuron's mean over `X`, both over the samples
            that are not missing: the variance-weighted R2 of scikit-learn. With
            ``scale="neuron"`` of the scaled activity, so that every neuron counts alike. Of spike
            counts the share of the Poisson deviance about each neuron's mean that is explained,
            which is far from 1 for any model where bins hold few spikes.
        """
        X, _, found = self._infer(X, inputs)
        r2 = free_run_r2(X, found.deviance, self._model.observation)
        share = self._model.observation.share
        self._say(describe_gap(r2, getattr(self, "_training_r2", None), share))
        return r2

    @isolated
    def score_samples(self, X, *, inputs=None):
        """R2 of the free run of each trial.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            As in ``transform``.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            As in ``transform``.

        Returns
        -------
        ndarray of shape (n_trials,)
            ``1 - SSE / SST`` with SST about the neurons' means in the training data.
        """
        X, _, found = self._infer(X, inputs)
        return self._trial_r2(X, found.deviance)

    @isolated
    def dynamics(self, X, *, inputs=None):
        """Batch of the RNNs behind trials.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            As in ``transform``.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            As in ``transform``.

        Returns
        -------
        RNNBatch
            One RNN per trial, which knows the start and the length of its free run, and its own
            length where X is padded (``rnns.lengths``); its states are ``to_states(activity)``.
            Its time goes in steps of the dynamics, of which
            ``rnns.free_run()[:, ::est.steps_per_sample_]`` are the samples.
        """
        X, inputs, found = self._infer(X, inputs, starts=True)
        return self._rnns(found.p[:, : self.n_components_], found, X.shape[1], inputs)

    @isolated
    def generate_rnns(self, E, initial_state=None, n_timesteps=None, *, inputs=None):
        """Batch of the RNNs that the hypernetwork makes of embeddings.

        Parameters
        ----------
        E : array-like of shape (n_trials, n_components)
        initial_state, n_timesteps, inputs :
            Start, length and inputs of their free runs, as in ``inverse_transform``; RNNs with
            input weights may go without inputs here.

        Returns
        -------
        RNNBatch
            Its states are ``to_states(activity)``.
        """
        run = self._check_free_run(E, initial_state, n_timesteps, inputs, needed=False)
        E, x0, n_timesteps, inputs = run
        run = {"initial_states": x0, "n_timesteps": n_timesteps, "inputs": inputs}
        return self._model.rnns(E, **run)

    # ------------------------------------------------------------------------------- units

    def to_states(self, X):
        """States of the RNNs that stand for activity: ``(X - mean_) / scale_``.

        Parameters
        ----------
        X : array-like of shape (..., n_neurons)
            Activity, e.g. of shape (n_trials, n_timesteps, n_neurons) as in ``fit``, or one
            sample (n_neurons,). NaN stays NaN.

        Returns
        -------
        ndarray of the shape of `X`
            In the units of ``RNNBatch``: training SDs, unless ``scale=None``.

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
        """Activity that states of the RNNs stand for, the inverse of ``to_states``.

        Parameters
        ----------
        states : array-like of shape (..., n_neurons)
            E.g. a run of an ``RNNBatch``, or its fixed points. NaN stays NaN.

        Returns
        -------
        ndarray of the shape of `states`
            In the units of `X`.

        Examples
        --------
        >>> import numpy as np
        >>> from jedi_sklearn import JEDIEstimator
        >>> from jedi_sklearn.datasets import make_multitask
        >>> X = make_multitask(n_trials=40, n_neurons=50, random_state=0).X
        >>> est = JEDIEstimator(n_components=6, rank=12, max_iter=100, tol=0.1, random_state=0)
        >>> rnns = est.fit(X[:30]).dynamics(X[30:])
        >>> np.allclose(est.to_activity(rnns.free_run()), est.predict(X[30:]))
        True
        """
        states = self._check_units(states, "states")
        size = np.nansum(np.square(states)) / max(np.isfinite(states).sum(), 1)
        if self.scale is not None and size > FAR:
            warn_user(
                f"These states are {size**0.5:.0f} SDs from the training data on average. Are "
                "they activity in the units of X? to_activity takes states, such as "
                "rnns.free_run()."
            )
        return self._model.observation.activity(states)

    def _check_units(self, values, name):
        """Numbers with one neuron in each place of the last axis."""
        check_is_fitted(self, "hypernetwork_")
        values = as_numbers(values, name)
        if not values.ndim or values.shape[-1] != self.n_features_in_:
            raise ValueError(
                f"{name} must have shape (..., n_neurons = {self.n_features_in_}), got "
                f"{values.shape}."
            )
        return values

    # ------------------------------------------------------------------------------- files

    def save(self, path):
        """Write the estimator to a file that can be read safely and by later versions.

        Parameters
        ----------
        path : str or path
            The name of the file as it is: no extension is added; ".npz" suits it. A file there is
            replaced, by all of the new one or not at all.

        Raises
        ------
        TypeError
            For a parameter or attribute that is no number, string, list, tuple, dictionary,
            array or RandomState.

        Notes
        -----
        Parameters and, after a fit, all that was learned are kept, in arrays and JSON: nothing in
        the file can run code. ``load`` gives an estimator with the same answers, bit by bit on
        one machine. A RandomState is kept with its state, and a path as it is.

        Examples
        --------
        >>> import os, tempfile
        >>> from jedi_sklearn import JEDIEstimator
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.npz")
        ...     JEDIEstimator(n_components=4, dt=0.02).save(path)
        ...     JEDIEstimator.load(path)
        JEDIEstimator(dt=0.02, n_components=4)
        """
        save_estimator(self, path)

    @classmethod
    @isolated
    def load(cls, path):
        """Read an estimator that ``save`` wrote, in this or an earlier version.

        Parameters
        ----------
        path : str or path
            As it was given to ``save``.

        Returns
        -------
        JEDIEstimator

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, holds something else or pickled objects, or was written by a
            version that knows more than this one; the text says which.
        """
        return load_estimator(cls, path)

    # --------------------------------------------------------------------------- inference

    def _infer(self, X, inputs=None, **how):
        check_is_fitted(self, "hypernetwork_")
        X = self._check_X(X)
        inputs = check_inputs_of_trials(inputs, X, self.n_inputs_)
        how["n_init"] = setting(self, "n_init")
        check_number(how["n_init"], "n_init", numbers.Integral, low=1)
        found = self._model.infer(X, resolve_device(self.device), inputs, **how)
        self._warn_of_units(X, float(found.distance))
        _warn_unconverged(found.converged)
        return X, inputs, found

    def _warn_of_units(self, X, distance):
        """Warn where X is much larger or smaller than the training data, or starts far away."""
        if self.scale is None or self._two_d:
            return
        problem = None
        # of a short part of trials, as the baseline of forecasts, another size is no wonder
        if 2 * X.shape[1] >= self.n_timesteps_:
            size = self._model.observation.relative_size(X)
            if size and not 1 / OTHER_SIZE <= size <= OTHER_SIZE:  # no unit makes 0 of it
                problem = f"X is {size:.2g} times as large as the training data"
        if problem is None and distance > FAR:
            problem = (
                f"The first samples of X are {distance**0.5:.0f} SDs from the training data on "
                "average"
            )
        if problem is not None:
            warn_user(f"{problem}: is X in the same units, with the same preprocessing?")

    def _say(self, line):
        if line and self.verbose:
            print(f"[JEDI] {line}", flush=True)

    def _trial_r2(self, X, deviance):
        total = [self._model.observation.null_deviance_of(trial) for trial in X]
        return np.array([one_less(*pair) for pair in zip(deviance, total, strict=True)])

    def _check_free_run(self, E, initial_state, n_timesteps, inputs, needed=True):
        """Embeddings with start (scaled), length and inputs of their free runs."""
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
        E = as_numbers(E, "Embeddings").copy()  # torch wants no negative strides, nor read-only
        if E.ndim != 2 or E.shape[1] != self.n_components_:
            raise ValueError(
                f"Embeddings must have shape (n_trials, n_components = {self.n_components_}), "
                f"got {E.shape}."
            )
        if not np.isfinite(E).all():
            raise ValueError("Embeddings hold NaN or infinite values.")
        return E


def _blocks_of_runs(model, embedding, x0, n_timesteps, inputs):
    """Free runs in the units of the states, some trials at a time."""
    return (run for _, run in model.free_runs(embedding, x0, n_timesteps, inputs))


def _warn_unconverged(converged):
    if not converged.all():
        bad = np.flatnonzero(~converged)
        warn_user(
            f"The embeddings of {len(bad)} of {len(converged)} trials did not converge, first "
            f"that of trial {bad[0]}; they are the best found. The model may not describe these "
            "trials: compare score_samples, or raise n_init.",
            ConvergenceWarning,
        )
