"""JEDIEstimator: documentation and parameters, fit and transform, report and files.

What a fitted model says of trials stands in `_predictions.py`, how it grows in `_growth.py`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from ._advice import describe_spread, describe_unused_labels
from ._callbacks import CallbackSupportMixin, watch_fit, with_callbacks
from ._components import RunComponents
from ._distributed import ALONE, join
from ._fit import STRUCTURE, fit_model
from ._growth import GrowthMixin
from ._observation import OBSERVATIONS
from ._parameters import check_parameters, check_sampling, option_of
from ._persistence import load_estimator, save_estimator
from ._plausible import warn_of_axes, warn_of_zeros
from ._predictions import PredictionMixin, warn_unconverged
from ._stored import part
from ._torch import isolated
from ._validation import check_trials, warn_user

__all__ = ["JEDIEstimator"]

OF_RUNS = ("trajectory", "both")  # outputs that need the free runs of the training trials


class JEDIEstimator(
    PredictionMixin,
    GrowthMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Jointly Embedded Inference of Neural Dynamics (JEDI).

    JEDI describes each trial by an RNN of its own, one unit per neuron, whose free run reproduces
    the population activity of the trial. A hypernetwork maps an embedding of the trial, a short
    vector, to the weights of this RNN. Trials with similar dynamics have similar embeddings.

    ``fit`` learns the hypernetwork and the embeddings of the training trials. ``transform`` infers
    the embeddings of new trials, ``score`` is the R2 of their free runs, and ``dynamics`` returns
    their RNNs, whose fixed points, eigenvalues and Lyapunov exponents the analyzers compute.

    After a fit, `output`, `device`, `n_init` and `verbose` may be changed without fitting again.
    Changes of other parameters take effect at the next fit.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Size of the embedding. "auto" is the number of principal components of whole trials that
        help to predict held-out neurons in held-out trials (docs/model.md, eq. 16), at most 24.
        With fewer than 16 trials, or with one embedding per condition, it is one less than the
        number of embeddings, at most 24.
    rank : int or "auto", default="auto"
        Rank of the connectivity. "auto" is the number of principal components of single samples
        that help to predict held-out neurons, at most 40, but at least the number for whole
        trials (up to 24). With fewer than 16 trials, which are too few to tell, it is 40.
    connectivity : {"shared", "low_rank", "full_rank"}, default="shared"
        Form of the weights J of an RNN with embedding c. "shared" is ``U G(c) V^T``, with bases U
        and V common to all trials; "low_rank" is ``U(c) V(c)^T``; "full_rank" is a dense ``J(c)``.
    hypernetwork : {"linear", "mlp"}, default="linear"
        Map from embeddings to weights. "linear" is affine in the embedding; "mlp" adds a
        multilayer perceptron beside the affine path.
    hidden_layer_sizes : tuple of int, default=(64,)
        Sizes of the hidden layers (tanh) of the "mlp" hypernetwork.
    embedding : {"trial", "condition"}, default="trial"
        During the fit, "trial" gives each trial its own embedding, and "condition" gives all
        trials of a condition the same one. ``transform`` infers one embedding per trial in either
        case.
    initial_state : {"auto", "generated", "inferred", "observed"}, default="auto"
        Where free runs start. "generated" starts at a state generated from the embedding, which
        then determines the whole free run. "inferred" starts at the mean plus a few shared
        directions; the coordinates along these are inferred with the embedding but are not part
        of it. "observed" starts at the first sample, including its noise, which suits clean
        trials that start in more ways than these directions can hold. "auto" is "inferred" with
        known inputs or with one embedding per condition, else "generated".
    dt : float, default=0.01
        Sampling interval of the data (or bin width), s.
    tau : float, default=0.1
        Time constant of the units of the RNN, s.
    steps_per_sample : int or "auto", default="auto"
        Number of time steps of the RNN from one sample to the next. More than one allows bins as
        long as `tau` or longer: the step is ``dt / steps_per_sample``, which is the `dt` of the
        RNNs. "auto" is the smallest number that makes steps at most ``tau / 2`` long, which is 1
        if `dt` is at most ``tau / 2``. If this takes more than 20 steps, the units of `dt` and
        `tau` are doubtful and ``fit`` raises an error. The time and memory of a fit grow with
        this number.
    observation : {"auto", "gaussian", "poisson"}, default="auto"
        What X holds. "poisson": spike counts per bin, as recorded; the RNNs generate log rates,
        and the fit maximises the Poisson likelihood of the counts. "gaussian": rates or any other
        continuous signal; the fit minimises the squared error. "auto" is "poisson" if X holds
        nothing but whole numbers from 0 to 100, else "gaussian".
    scale : {"global", "neuron"} or None, default="global"
        Scaling of the activity that the model sees: the mean of each neuron is subtracted, and
        the result is divided by one SD for all neurons ("global") or by the SD of each neuron
        ("neuron"). None leaves the activity unchanged. Outputs are scaled back. For spike counts,
        the logarithm of the counts is scaled, and "global" means units in which the noise of all
        neurons is alike: proportional to one over the square root of the mean count.
    solver : {"annealed", "paper"}, default="annealed"
        "annealed" starts from a closed-form solution and trains with teacher forcing that
        declines. "paper" starts at random and trains with Adam on the free run, as in the paper.
    max_iter : int, default=300
        Number of gradient steps. The "paper" solver needs several times as many.
    learning_rate_init : float, default=0.005
        Initial learning rate of the optimiser: SOAP, or Adam for the "paper" solver. It falls to
        0 along half a cosine.
    teacher_forcing : float, default=0.1
        Share of the data mixed into the state at the start of training. Over the first half of
        the steps it changes to `final_teacher_forcing`. Not used by the "paper" solver.
    final_teacher_forcing : float or "auto", default="auto"
        Share of the data mixed into the state from then on. With 0, the fit minimises the error
        of the free run itself. A small share keeps noise that unstable dynamics amplify from
        misleading the fit, which then comes closer to the true weights if the data determine
        them. "auto" is half of `teacher_forcing` with known inputs, else 0. Not used by the
        "paper" solver.
    batch_size : int or "auto", default="auto"
        Trials per gradient step. "auto" is 200, or all trials if there are fewer. If 200 trials
        have more than 2^24 values together, it is fewer, but at least 16.
    n_init : int, default=2
        Number of starts in the inference of an embedding; the best result is kept. With shared
        connectivity there are at most two, plus more for trials for which these fail
        (docs/model.md).
    tol : float, default=1e-3
        Training has converged when R2 rises by less than this over the last tenth of the steps.
        With `early_stopping`, the smallest rise of the validation R2 that counts as progress.
    early_stopping : bool, default=False
        Hold out some trials for validation, stop when their R2 no longer rises, and keep the best
        state.
    validation_fraction : float, default=0.1
        Share of trials held out for `early_stopping`.
    n_iter_no_change : int, default=2
        Number of consecutive evaluations of the validation R2 without a rise after which training
        stops. The validation R2 is evaluated at every tenth of `max_iter`.
    warm_start : bool, default=False
        Continue from the fitted model, if there is one, instead of a closed-form or random start.
        The embeddings of the given trials are inferred, and training makes `max_iter` more steps
        with 0.3 times the learning rate. The trials may be new, but must have the same neurons.
        Sizes ("auto" keeps them), the form of the weights, `initial_state`, `dt`, `tau` and
        `scale` must be the same. `scale_` does not change, nor does `mean_`, except that for
        spike counts `mean_` is trained.
    checkpoint : str, path or None, default=None
        File that stores the state of training. It is replaced 20 times during a fit and removed
        when the fit is complete. After an interruption, ``fit`` with the same data and parameters
        continues from the file, with the same result as an uninterrupted fit. The file of a
        different fit is refused.
    output : {"embedding", "trajectory", "both", "dynamics"}, default="embedding"
        What ``transform`` returns. "embedding": the embeddings. "trajectory": the principal
        components of the free runs, as many as explain 99 % of their variance in the training
        trials. "both": the embeddings, and beside them these components in units in which both
        count alike, for decoders of labels that may show in either. "dynamics": an
        :class:`RNNBatch` for the analyzers.
    device : str, default="auto"
        Torch device. "auto" is CUDA if available, else the CPU. Fitted models are kept on the CPU.
    distributed : bool, default=False
        Share the work of ``fit`` among the processes of torch.distributed, each of which calls
        ``fit`` with the same arguments (docs/scaling.md). All end with the same model.
    random_state : int, RandomState or None, default=None
        Seed of random starts, mini-batches and validation trials. Two fits with the same int are
        bit-identical on the same machine.
    verbose : bool, default=False
        Show progress (as a bar if tqdm is installed), how sizes were chosen, and signs that the
        model is too large for the data.
    forcing, final_forcing, n_starts : "deprecated"
        Old names of `teacher_forcing`, `final_teacher_forcing` and `n_init`. They still work, with
        a FutureWarning, and will be removed in version 0.2.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_trials, n_components)
        Embeddings of the training trials, as ``transform`` returns them. The components have zero
        mean and are uncorrelated, in decreasing order of their effect on the generated activity.
        The SD of a component is proportional to the fourth root of its effect, and that of the
        last component is 1 (docs/model.md, eq. 10).
    conditions_ : ndarray of shape (n_conditions,)
        Sorted labels of the conditions. Exists only if conditions were given.
    condition_embeddings_ : ndarray of shape (n_conditions, n_components)
        Mean embedding of each condition. Exists only if conditions were given.
    loss_curve_ : list of float
        1 - R2 (1 - D2 for spike counts) of the run, with teacher forcing, at each step of the
        last fit.
    validation_curve_ : list of (int, float)
        Step and R2 (or D2) of the validation trials, with `early_stopping`.
    n_iter_ : int
        Number of gradient steps made.
    converged_ : bool
        Whether training converged.
    noise_variance_ : float
        Variance of the residuals of free runs on the training trials, in scaled units. For spike
        counts it is relative to the expected count, so that it is 1 for Poisson counts. If
        training does not end with the embeddings of free runs, at most 512 of the trials are used
        (docs/model.md).
    autocorrelation_time_ : float
        Number of consecutive samples that carry the information of one independent residual. The
        posterior divides the information in the data by this number.
    observation_ : {"gaussian", "poisson"}
        The observation model used.
    mean_, scale_ : ndarray of shape (n_neurons,)
        The states of the RNNs are ``(X - mean_) / scale_``, or ``to_states(X)``. For spike counts
        the expected counts are ``exp(mean_ + scale_ * states)``, or ``to_activity(states)``.
    n_components_, rank_ : int
        Size of the embedding and rank used.
    steps_per_sample_ : int
        Number of time steps of the RNN from one sample to the next.
    n_features_in_ : int
        Number of neurons.
    n_inputs_ : int
        Number of channels of known input; 0 without inputs.
    n_timesteps_ : int
        Number of samples per training trial.
    hypernetwork_ : torch.nn.Module
        The trained hypernetwork, float64, on the CPU.

    Raises
    ------
    ValueError, TypeError
        By ``fit``, if data or parameters cannot be used; the message says what to try.
    FloatingPointError
        By ``fit``, if training diverges. The estimator stays as it was.
    KeyboardInterrupt
        By ``fit``, after Ctrl-C. The estimator is fitted as far as training had come, and a
        warning says so. After a second Ctrl-C it stays as it was.

    Warns
    -----
    ConvergenceWarning
        If training, or the inference of some trials, has not converged; the message gives the
        cause and a remedy.
    UserWarning
        If data or parameters look unintended, such as `dt` and `tau` in ms.

    References
    ----------
    Jamkhandi, Korojy, Codol, Lajoie, Perich (2026), "JEDI: Jointly Embedded Inference of Neural
    Dynamics", arXiv:2603.10489. The estimation here differs; docs/model.md says how and why.

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
        max_iter=300,
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

    # Private, for the common checks of scikit-learn, which only know arrays of two axes: if True
    # in a subclass, X is 2-D, and each row is a trial of one step from zero.
    _two_d = False

    def __sklearn_tags__(self):
        """Declare that X has three axes and may hold NaN."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self._two_d
        tags.input_tags.three_d_array = tags.input_tags.allow_nan = not self._two_d
        return tags

    @property
    def observation_(self):
        """Observation model used, "gaussian" or "poisson"."""
        if "_model" not in vars(self):
            raise AttributeError("observation_ is available only after a fit. Call fit first.")
        return option_of(self._model.observation, OBSERVATIONS)

    @property
    def steps_per_sample_(self):
        """Number of time steps of the RNN from one sample to the next."""
        if "_model" not in vars(self):
            raise AttributeError(
                "steps_per_sample_ is available only after a fit. Call fit first."
            )
        return self._model.steps_per_sample

    @property
    def noise_inflation_(self):
        """Old name of `autocorrelation_time_`."""
        if "_model" not in vars(self):
            raise AttributeError("noise_inflation_ is now called autocorrelation_time_.")
        text = "noise_inflation_ is now called autocorrelation_time_."
        warn_user(f"{text} The old name will be removed in 0.2.", FutureWarning)
        return self.autocorrelation_time_

    def _check_X(self, X, fit=False, processes=ALONE):
        if self._two_d:
            X = validate_data(self, X, reset=fit, dtype=float, ensure_min_samples=1 + fit)
            return np.stack([np.zeros_like(X), X], axis=1)
        check_sampling(self, X)
        if fit:
            return check_trials(X, min_trials=2, missing=True, stored=True, processes=processes)
        X = check_trials(X, n_neurons=self.n_features_in_, missing=True, stored=True)
        self._model.observation.check(X)
        return X

    # ----------------------------------------------------------------------------- fitting

    @with_callbacks
    @isolated
    def fit(self, X, y=None, *, conditions=None, inputs=None):
        """Fit the hypernetwork and the embeddings.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity: spike counts in bins of `dt` seconds, or rates or any other continuous
            signal sampled every `dt` seconds. NaN marks missing samples, such as the end of a
            shorter trial or a neuron that was not recorded. A large ``np.memmap``, or another
            array that is not in memory, is read a few trials at a time. Groups of neurons that
            were never recorded in the same trial, such as those of different sessions, need
            conditions in common.
        y : array-like of shape (n_trials,), optional
            Labels, used as conditions unless `conditions` is given. A continuous `y`, as in a
            regression, or a `y` of several columns is ignored. So are whole numbers with more
            than 20 distinct values that are also more than half as many as the trials; a warning
            says so. The labels of a ``Recording`` are not used unless you pass them:
            ``fit(rec, rec.labels)``.
        conditions : array-like of shape (n_trials,), optional
            Task or condition of each trial. The prior of the embeddings is centred on the
            conditions during the fit; ``transform`` never uses them.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs. Sample t drives the step to t + 1 through input weights common to all
            trials, so embeddings need not explain the inputs. All later calls need inputs too.

        Returns
        -------
        JEDIEstimator
            The fitted estimator itself.
        """
        self._fit(X, y, conditions, inputs)
        return self

    def _fit(self, X, y, conditions, inputs):
        """Fit, and return what was inferred for the training trials."""
        check_parameters(self)
        processes = join(self.distributed)
        if getattr(X, "in_memory", False) and processes.rank == 0:
            self._say(describe_unused_labels(X.labels, y, conditions))
        X = self._check_X(X, fit=True, processes=processes)
        if processes.rank == 0 and not self._two_d:
            warn_of_axes(X)
            warn_of_zeros(part(X, processes.slice(len(X))))
        previous = getattr(self, "_model", None) if self.warm_start else None
        watch = watch_fit(self, X, y if conditions is None else conditions, inputs, self._learned)
        fit = fit_model(self, X, y, conditions, inputs, previous, processes, watch)
        learned, found = self._learned(fit), fit.found
        if self.output in OF_RUNS:
            run = (found.x0, X.shape[1], inputs)
            runs = _blocks_of_runs(fit.model, fit.embedding, *run)
            learned["_trajectory"] = RunComponents.learn(runs, fit.embedding)

        # nothing above changes self, so a failed fit leaves the estimator as it was
        for name in ("conditions_", "condition_embeddings_"):
            self.__dict__.pop(name, None)
        vars(self).update(learned)
        if watch is not None:
            watch.close(fit)
        try:
            if fit.training.complaint:
                warn_user(fit.training.complaint, ConvergenceWarning)
            warn_unconverged(found.converged)
        finally:
            if fit.training.interrupted:  # self is usable, but the caller should stop
                raise KeyboardInterrupt
        return found

    def _learned(self, fit):
        """Collect the attributes of a fitted estimator by name."""
        model, embedding, training = fit.model, fit.embedding, fit.training
        observation = model.observation
        learned = {
            "n_features_in_": len(observation.mean),
            "n_timesteps_": fit.n_timesteps,
            "n_components_": embedding.shape[1],
            "rank_": model.connectivity.rank,
            "mean_": observation.mean.detach().numpy().copy(),
            "scale_": observation.scale.detach().numpy().copy(),
            "hypernetwork_": model.hypernetwork,
            "noise_variance_": float(observation.noise),
            "autocorrelation_time_": model.autocorrelation_time,
            "_model": model,
            "_structure": {name: getattr(self, name) for name in STRUCTURE},
            "_mean_initial_state": observation.activity(fit.found.first),
            "embedding_": embedding,
            "_training_r2": fit.training_r2,
            "_trajectory": None,
            "n_inputs_": len(model.input_scale),
            "loss_curve_": training.loss_curve,
            "validation_curve_": training.validation_curve,
            "n_iter_": len(training.loss_curve),
            "converged_": training.converged,
            "_messages": [training.complaint] if training.complaint else [],
        }
        if fit.labels is not None:
            learned["conditions_"] = fit.labels
            learned["condition_embeddings_"] = np.stack(
                [embedding[fit.codes == i].mean(axis=0) for i in range(len(fit.labels))]
            )
        return learned

    @with_callbacks
    @isolated
    def fit_transform(self, X, y=None, *, conditions=None, inputs=None):
        """Fit, and return what ``fit(X, y).transform(X)`` returns, with a single inference.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity, as in ``fit``.
        y : array-like of shape (n_trials,), optional
            Labels, as in ``fit``.
        conditions : array-like of shape (n_trials,), optional
            Task or condition of each trial, as in ``fit``.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, as in ``fit``.

        Returns
        -------
        ndarray of shape (n_trials, n_features), or RNNBatch
            Embeddings, principal components of free runs, or RNNs, depending on `output`.
        """
        found = self._fit(X, y, conditions, inputs)
        return self._output(self.embedding_, found, self.n_timesteps_, inputs)

    # -------------------------------------------------------------------------- transform

    # n_jobs is not metadata, so there is nothing to route
    __metadata_request__transform: ClassVar = {"n_jobs": UNUSED}

    @isolated
    def transform(self, X, *, inputs=None, n_jobs=None):
        """Infer the embeddings of trials from their activity alone.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity with any number of samples per trial, `dt` apart. NaN marks missing samples.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs; required if, and only if, the model was fitted with inputs.
        n_jobs : int, optional
            Number of joblib workers that share the trials. None uses the setting of an enclosing
            ``joblib.parallel_config``, which also applies to all other methods; without one it
            uses the threads of torch, provided that each has 64 trials or more. The result does
            not depend on it, except for rounding if workers have several threads each.

        Returns
        -------
        ndarray of shape (n_trials, n_features), or RNNBatch
            With ``output="embedding"``, the posterior modes, (n_trials, n_components); with
            "trajectory", the principal components of their free runs; with "both", the former
            beside the latter; with "dynamics", their RNNs. The result of a trial depends on that
            trial alone.
        """
        how = {"starts": self.output != "embedding", "n_jobs": n_jobs}
        X, inputs, found = self._infer(X, inputs, **how)
        self._say(describe_spread(found.p[:, : self.n_components_], self.embedding_))
        return self._output(found.p[:, : self.n_components_], found, X.shape[1], inputs)

    def set_output(self, *, transform=None):
        """Set the container that ``transform`` returns, as in scikit-learn.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            Container; None leaves the setting as it is.

        Returns
        -------
        JEDIEstimator
            The estimator itself. With ``output="dynamics"`` nothing changes, because RNNs are not
            columns.
        """
        if self.output == "dynamics":
            return self
        return super().set_output(transform=transform)

    @available_if(lambda self: self.output != "dynamics")
    def get_feature_names_out(self, input_features=None):
        """Return the names of the components: "jediestimator0", ...

        Not available with ``output="dynamics"``: RNNs are not columns, and scikit-learn leaves
        them unchanged, whatever ``set_output`` asks for.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            A name for each column that ``transform`` returns.
        """
        return super().get_feature_names_out(input_features)

    def _output(self, embedding, found, n_timesteps, inputs):
        if self.output == "dynamics":
            return self._rnns(embedding, found, n_timesteps, inputs)
        if self.output in OF_RUNS:
            components = self._run_components()
            if inputs is not None and n_timesteps != self.n_timesteps_:
                raise ValueError(
                    f'output="{self.output}" compares free runs of {self.n_timesteps_} samples, '
                    "as in the fit. With inputs, trials must have that length, got "
                    f"{n_timesteps}."
                )
            run = (found.x0, self.n_timesteps_, inputs)
            scores = components(_blocks_of_runs(self._model, embedding, *run))
            if self.output == "trajectory":
                return scores
            return np.hstack([embedding, scores * components.unit])
        return embedding.copy()

    @isolated
    def _run_components(self):
        """Return the components of the training trials' free runs, made at the first call."""
        known = getattr(self, "_trajectory", None)
        if known is None or (self.output == "both" and known.unit is None):  # as in older files
            if not self._model.initial_state.generated or self.n_inputs_:
                raise ValueError(
                    f'output="{self.output}" needs the free runs of the training trials, but '
                    "their inputs or initial states were not kept. Fit with "
                    f'output="{self.output}", or use initial_state="generated" without inputs.'
                )
            x0 = self._model.first_states(self.embedding_)
            run = (x0, self.n_timesteps_, None)
            runs = _blocks_of_runs(self._model, self.embedding_, *run)
            self._trajectory = RunComponents.learn(runs, self.embedding_)
        return self._trajectory

    @property
    def _n_features_out(self):
        """Number of columns that ``transform`` returns."""
        n_scores = len(self._run_components().axes) if self.output in OF_RUNS else 0
        return n_scores if self.output == "trajectory" else self.n_components_ + n_scores

    # ------------------------------------------------------------------------------ report

    def report(
        self, X, y=None, *, title="Report of a JEDI fit", time=None, events=None, inputs=None
    ):
        """Report how the model describes trials, on one HTML page to keep or send.

        The page holds parameters, sizes, convergence, the R2 of each condition, the decoding of
        conditions, and figures of embeddings, free runs and eigenspectra. It needs matplotlib.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons), or Recording
            Activity, as in ``transform``. A recording provides labels, time axis, events and
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
            Known inputs, as in ``transform``.

        Returns
        -------
        jedi_sklearn.plotting.Report
            A notebook displays it, and ``report.save("fit.html")`` writes it to one
            self-contained file.

        Raises
        ------
        ImportError
            If matplotlib is missing: ``pip install "jedi-sklearn[plot]"``.

        Examples
        --------
        >>> from jedi_sklearn import JEDIEstimator
        >>> from jedi_sklearn.datasets import make_multitask
        >>> data = make_multitask(24, n_neurons=12, n_timesteps=30, dt=0.02, random_state=0)
        >>> est = JEDIEstimator(3, 6, dt=0.02, max_iter=20, tol=1.0, random_state=0)
        >>> report = est.fit(data.X, data.task).report(data.X, data.task, title="Session 12")
        >>> "<h1>Session 12</h1>" in report.html       # report.save("session12.html")
        True
        """
        # plotting imports the estimator, so this import cannot be at the top
        from jedi_sklearn.plotting import Report

        axis = {"time": time, "events": events}
        return Report.from_estimator(self, X, y, title=title, **axis, inputs=inputs)

    # ------------------------------------------------------------------------------- files

    def save(self, path):
        """Save the estimator to a file that is safe to read, also by later versions.

        Parameters
        ----------
        path : str or path
            Name of the file. No extension is added; ".npz" is the natural choice. An existing
            file is replaced only after the new one is complete.

        Raises
        ------
        TypeError
            If a parameter or attribute is not a number, string, list, tuple, dictionary, array
            or RandomState.

        Notes
        -----
        The file holds the parameters and, after a fit, everything learned, as arrays and JSON:
        nothing in it can run code. ``load`` returns an estimator with the same results, bit for
        bit on the same machine. A RandomState keeps its state, and paths stay unchanged.

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
        """Load an estimator that ``save`` wrote, in this or an earlier version.

        Parameters
        ----------
        path : str or path
            Name of the file, as given to ``save``.

        Returns
        -------
        JEDIEstimator
            The estimator, fitted if it was fitted when saved.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file is damaged, holds something else or pickled objects, or was written by a
            later version with features that this one lacks; the message says which.
        """
        return load_estimator(cls, path)

    def _say(self, line):
        if line and self.verbose:
            print(f"[JEDI] {line}", flush=True)


def _blocks_of_runs(model, embedding, x0, n_timesteps, inputs):
    """Yield free runs in the units of the states, a few trials at a time."""
    return (run for _, run in model.free_runs(embedding, x0, n_timesteps, inputs))
