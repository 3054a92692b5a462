"""Fit variational autoencoders to whole trials, without dynamics or with a recurrent network."""

from __future__ import annotations

import copy
import math
from numbers import Integral

import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from .._components import components_of_trials
from .._torch import isolated, resolve_device
from .._validation import check_number, check_seed
from ._common import EmbeddingBaseline, Readout, check_embeddings, choose_components

__all__ = ["RNNVAEBaseline", "VAEBaseline"]

LEAST_NOISE = 1e-8  # variance relative to the data, so that a perfect fit has a likelihood too


class _Variational(EmbeddingBaseline):
    """Base class of the autoencoders: training, and the results of a fit.

    A subclass has the method ``_make_network(n_timesteps, n_neurons, n_components)``.
    """

    def _check_parameters(self):
        for name in ("hidden_size", "batch_size", "max_iter", "n_iter_no_change"):
            check_number(getattr(self, name), name, Integral, low=1)
        check_number(self.learning_rate_init, "learning_rate_init", low=0, closed=False)
        how = {"low": 0, "high": 0.9, "closed": False}
        check_number(self.validation_fraction, "validation_fraction", **how)
        check_seed(self.random_state)

    def _learn(self, data, y):
        n_trials, n_timesteps, n_neurons = data.X.shape
        rng, device = check_seed(self.random_state), resolve_device(self.device)
        n_held = max(1, round(self.validation_fraction * n_trials))
        if n_trials - n_held < 2:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {n_trials} trials leaves "
                f"{n_trials - n_held} to train on; at least 2 are needed. Lower it, or use more "
                "trials."
            )
        n = choose_components(
            self.n_components, n_trials, lambda: components_of_trials(data.trials)
        )
        order = torch.as_tensor(rng.permutation(n_trials))
        with torch.random.fork_rng(devices=[]):  # layers draw from torch's global generator
            torch.manual_seed(int(rng.randint(2**31 - 1)))
            network = self._make_network(n_timesteps, n_neurons, n).to(device)
        trials = data.trials.to(torch.float32, device)
        observation = copy.deepcopy(data.observation).to(device)
        held, kept = (trials[i.to(device)] for i in (order[:n_held], order[n_held:]))
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        found = self._train(network, observation, kept, held, generator)
        network.load_state_dict(found.pop("best"))
        network = network.double().cpu().requires_grad_(False)
        embedding = network.encode(data.trials.guide)[0]
        error = _deviance(network, data.observation, data.trials, embedding)
        noise = float(error) / data.trials.n_observed if data.observation.squared else 1.0
        return {
            "_network": network,
            "_readout": Readout(),
            "embedding_": embedding.numpy(),
            "n_components_": n,
            "noise_variance_": noise,
            **found,
        }

    def _train(self, network, observation, kept, held, generator):
        """Train on the kept trials until the bound of the held-out trials stops rising."""
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate_init)
        curve, validation, highest, best = [], [], -math.inf, None
        while len(curve) < self.max_iter:
            total = 0.0
            for i in torch.randperm(len(kept), generator=generator).split(self.batch_size):
                some = kept[i.to(kept.device)]
                noise = torch.randn(
                    len(i), network.n_components, generator=generator, dtype=torch.float32
                )
                loss = -_bound(network, observation, some, noise.to(kept.device))
                optimiser.zero_grad()
                (loss / len(i)).backward()
                optimiser.step()
                total -= loss.item()
            curve.append(total / kept.n_observed)
            with torch.no_grad():
                now = float(_bound(network, observation, held)) / held.n_observed
            if not math.isfinite(now):
                raise FloatingPointError(
                    f"Training diverged in epoch {len(curve)}. Lower learning_rate_init="
                    f"{self.learning_rate_init:g}, or look for outliers in X."
                )
            validation.append(now)
            if now > highest:
                highest, last = now, len(curve)
                best = {name: a.clone() for name, a in network.state_dict().items()}
            if len(curve) - last >= self.n_iter_no_change:
                break
        return {
            "best": best,
            "elbo_curve_": curve,
            "validation_curve_": validation,
            "n_iter_": len(curve),
            "converged_": len(curve) - last >= self.n_iter_no_change,
        }

    def _complaint(self):
        if not self.converged_:
            return (
                f"The bound of the held-out trials still rises after max_iter={self.max_iter} "
                "epochs. Raise max_iter, or learning_rate_init."
            )
        return None

    def _embed(self, data):
        return self._network.encode(data.trials.guide)[0].numpy()

    def _describe(self, data):
        return self._decode(self._embed(data), data.X.shape[1])

    def _decode(self, E, n_timesteps):
        runs = self._network.decode(torch.as_tensor(E, dtype=torch.float64), n_timesteps)
        return runs.transpose(0, 1).numpy()

    @isolated
    def inverse_transform(self, E):
        """Generate trials from embeddings.

        Parameters
        ----------
        E : array-like of shape (n_trials, n_components)
            Embeddings, as from ``transform``.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Activity in the units of `X`.
        """
        check_is_fitted(self)
        E = check_embeddings(E, self.n_components_)
        return self._activity(self._decode(E, self.n_timesteps_))


class VAEBaseline(_Variational):
    """Variational autoencoder of whole trials, with as many numbers per trial as JEDIEstimator.

    A multilayer perceptron maps all samples of a trial to a Gaussian posterior of a few numbers;
    another one maps these back to the trial. Unlike principal components the maps may be
    nonlinear. The model has no dynamics: trials must be as long as those of the fit.

    This is one of the two baselines of the JEDI paper, whose settings may differ from these: one
    hidden layer (tanh) on each side, a standard normal prior, Poisson counts or Gaussian noise
    with one variance that is re-estimated in each batch (sigma-VAE, Rybkin et al.), and Adam with
    a constant learning rate. Training stops when the evidence lower bound of held-out trials has
    not risen for `n_iter_no_change` epochs, and the weights of the best epoch are kept.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of components, that is, of numbers per trial. "auto" is the choice of
        ``JEDIEstimator(n_components="auto")``.
    hidden_size : int, default=128
        Number of units in each hidden layer.
    observation : {"auto", "gaussian", "poisson"}, default="auto"
        What `X` holds, as in :class:`~jedi_sklearn.JEDIEstimator`. For spike counts, the encoder
        sees smoothed log rates, and the decoder maximises the likelihood of Poisson counts.
    max_iter : int, default=1000
        Maximum number of epochs.
    learning_rate_init : float, default=0.001
        Learning rate of Adam.
    batch_size : int, default=32
        Trials per gradient step.
    validation_fraction : float, default=0.1
        Share of the trials held out to decide when to stop.
    n_iter_no_change : int, default=50
        Number of epochs without a rise of their bound after which training stops.
    device : str, default="auto"
        Torch device; "auto" uses CUDA if available. Fitted models stay on the CPU.
    random_state : int, RandomState or None, default=None
        Seed of weights, batches, samples and the choice of held-out trials.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_trials, n_components)
        Posterior means of the training trials, as from ``transform``. Components have no order.
    elbo_curve_, validation_curve_ : list of float
        Evidence lower bound per observed value after each epoch, of the training trials and of
        the held-out trials (at the posterior means). For spike counts, without a constant that
        depends only on the data.
    noise_variance_ : float
        Mean squared error of the training trials, in training SDs; 1 for spike counts.
    n_iter_ : int
        Number of epochs.
    converged_ : bool
        Whether training stopped before `max_iter`.
    n_components_ : int
        Number of components.
    observation_ : {"gaussian", "poisson"}
        What `X` was taken as.
    n_features_in_ : int
        Number of neurons.
    n_timesteps_ : int
        Samples per trial.

    Raises
    ------
    ValueError, TypeError
        If data or parameters cannot be used. The text says what to try.
    FloatingPointError
        If training diverges.

    Warns
    -----
    ConvergenceWarning
        If the bound still rises at the end.

    References
    ----------
    Kingma and Welling (2014), "Auto-encoding variational Bayes", ICLR, arXiv:1312.6114. Rybkin,
    Daniilidis and Levine (2021), "Simple and effective VAE training with calibrated decoders",
    ICML, arXiv:2006.13202. Jamkhandi et al. (2026), arXiv:2603.10489.

    Examples
    --------
    >>> from jedi_sklearn.baselines import VAEBaseline
    >>> from jedi_sklearn.datasets import make_multitask
    >>> X = make_multitask(n_trials=60, n_neurons=30, n_timesteps=30, random_state=0).X
    >>> vae = VAEBaseline(n_components=4, hidden_size=32, n_iter_no_change=5, random_state=0)
    >>> vae.fit(X[:45]).transform(X[45:]).shape
    (15, 4)
    >>> vae.predict(X[45:]).shape
    (15, 30, 30)
    """

    def __init__(
        self,
        n_components="auto",
        *,
        hidden_size=128,
        observation="auto",
        max_iter=1000,
        learning_rate_init=1e-3,
        batch_size=32,
        validation_fraction=0.1,
        n_iter_no_change=50,
        device="auto",
        random_state=None,
    ):
        self.n_components = n_components
        self.hidden_size = hidden_size
        self.observation = observation
        self.max_iter = max_iter
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.random_state = random_state

    def _make_network(self, n_timesteps, n_neurons, n_components):
        return _Perceptrons(n_timesteps, n_neurons, n_components, self.hidden_size)


class RNNVAEBaseline(_Variational):
    """Variational autoencoder of recurrent networks, with JEDIEstimator's numbers per trial.

    A bidirectional GRU reads a trial, and its last states give the posterior of a few numbers.
    These numbers set the initial state of another GRU, which runs freely and is read out linearly.
    One network thus generates all trials, which differ only in its initial state: a sequential
    autoencoder like LFADS without inputs. Trials may have any length.

    This is one of the two baselines of the JEDI paper, whose settings may differ from these.
    Prior, noise, training and stopping are those of :class:`VAEBaseline`.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of components, that is, of numbers per trial. "auto" is the choice of
        ``JEDIEstimator(n_components="auto")``.
    hidden_size : int, default=64
        Number of units in each GRU.
    observation : {"auto", "gaussian", "poisson"}, default="auto"
        What `X` holds, as in :class:`VAEBaseline`.
    max_iter : int, default=500
        Maximum number of epochs.
    learning_rate_init : float, default=0.005
        Learning rate of Adam.
    batch_size : int, default=32
        Trials per gradient step.
    validation_fraction : float, default=0.1
        Share of the trials held out to decide when to stop.
    n_iter_no_change : int, default=50
        Number of epochs without a rise of their bound after which training stops.
    device : str, default="auto"
        Torch device; "auto" uses CUDA if available. Fitted models stay on the CPU.
    random_state : int, RandomState or None, default=None
        Seed of weights, batches, samples and the choice of held-out trials.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_trials, n_components)
        Posterior means of the training trials, as from ``transform``. Components have no order.
    elbo_curve_, validation_curve_ : list of float
        Evidence lower bounds, as in :class:`VAEBaseline`.
    noise_variance_ : float
        Mean squared error of the training trials, in training SDs; 1 for spike counts.
    n_iter_ : int
        Number of epochs.
    converged_ : bool
        Whether training stopped before `max_iter`.
    n_components_ : int
        Number of components.
    observation_ : {"gaussian", "poisson"}
        What `X` was taken as.
    n_features_in_ : int
        Number of neurons.
    n_timesteps_ : int
        Samples per training trial.

    Raises
    ------
    ValueError, TypeError
        If data or parameters cannot be used. The text says what to try.
    FloatingPointError
        If training diverges.

    Warns
    -----
    ConvergenceWarning
        If the bound still rises at the end.

    References
    ----------
    Sussillo et al. (2016), "LFADS: latent factor analysis via dynamical systems",
    arXiv:1608.06315. Jamkhandi et al. (2026), arXiv:2603.10489.

    Examples
    --------
    >>> from jedi_sklearn.baselines import RNNVAEBaseline
    >>> from jedi_sklearn.datasets import make_multitask
    >>> X = make_multitask(n_trials=40, n_neurons=20, n_timesteps=20, random_state=0).X
    >>> vae = RNNVAEBaseline(n_components=3, hidden_size=16, n_iter_no_change=3, random_state=0)
    >>> vae.fit(X[:30]).transform(X[30:]).shape
    (10, 3)
    >>> vae.forecast(X[30:, :15], 5).shape
    (10, 5, 20)
    """

    _fixed_length = False

    def __init__(
        self,
        n_components="auto",
        *,
        hidden_size=64,
        observation="auto",
        max_iter=500,
        learning_rate_init=5e-3,
        batch_size=32,
        validation_fraction=0.1,
        n_iter_no_change=50,
        device="auto",
        random_state=None,
    ):
        self.n_components = n_components
        self.hidden_size = hidden_size
        self.observation = observation
        self.max_iter = max_iter
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.random_state = random_state

    def _make_network(self, n_timesteps, n_neurons, n_components):
        return _GRUs(n_neurons, n_components, self.hidden_size)

    @isolated
    def forecast(self, X, n_timesteps):
        """Forecast what follows trials: the run of the decoder continues.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_seen, n_neurons)
            Samples that are seen, NaN where one is missing.
        n_timesteps : int
            Number of samples to forecast.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Forecast in the units of `X`.
        """
        check_number(n_timesteps, "n_timesteps", Integral, low=1)
        data = self._data(self._check_X(X))
        n_seen = data.X.shape[1]
        return self._activity(self._decode(self._embed(data), n_seen + n_timesteps)[:, n_seen:])


class _Perceptrons(nn.Module):
    """Multilayer perceptrons: from a trial to a posterior, and from a draw back to the trial."""

    def __init__(self, n_timesteps, n_neurons, n_components, n_hidden):
        super().__init__()
        n_values, self.n_components, self.n_neurons = (
            n_timesteps * n_neurons,
            n_components,
            n_neurons,
        )
        self.encoder = nn.Sequential(
            nn.Linear(n_values, n_hidden, dtype=torch.float32),
            nn.Tanh(),
            nn.Linear(n_hidden, 2 * n_components, dtype=torch.float32),
        )
        self.decoder = nn.Sequential(
            nn.Linear(n_components, n_hidden, dtype=torch.float32),
            nn.Tanh(),
            nn.Linear(n_hidden, n_values, dtype=torch.float32),
        )

    def encode(self, guide):
        """Compute posterior means and log variances (trials, components) of the guide."""
        rows = guide.transpose(0, 1).reshape(guide.shape[1], -1)
        return self.encoder(rows).chunk(2, 1)

    def decode(self, z, n_timesteps):
        """Compute states (time, trials, neurons) from draws."""
        return self.decoder(z).reshape(len(z), n_timesteps, self.n_neurons).transpose(0, 1)


class _GRUs(nn.Module):
    """GRUs: from the last states of one to a posterior, and from a draw to a run of another."""

    def __init__(self, n_neurons, n_components, n_hidden):
        super().__init__()
        self.n_components, self.n_hidden = n_components, n_hidden
        kind = {"dtype": torch.float32}
        self.reader = nn.GRU(n_neurons, n_hidden, bidirectional=True, **kind)
        self.posterior = nn.Linear(2 * n_hidden, 2 * n_components, **kind)
        self.first = nn.Linear(n_components, n_hidden, **kind)
        self.runner = nn.GRU(1, n_hidden, **kind)  # its input is 0
        self.readout = nn.Linear(n_hidden, n_neurons, **kind)

    def encode(self, guide):
        """Compute posterior means and log variances (trials, components) of the guide."""
        last = self.reader(guide)[1]  # (2, trials, hidden)
        return self.posterior(torch.cat([*last], 1)).chunk(2, 1)

    def decode(self, z, n_timesteps):
        """Compute states (time, trials, neurons) from draws."""
        none = z.new_zeros(n_timesteps, len(z), 1)
        return self.readout(self.runner(none, self.first(z)[None])[0])


def _bound(network, observation, trials, noise=None):
    """Sum the evidence lower bound over trials; without `noise`, at the posterior means."""
    mean, log_variance = network.encode(trials.guide)
    z = mean if noise is None else mean + noise * (0.5 * log_variance).exp()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
    deviance = _deviance(network, observation, trials, z)
    if observation.squared:  # with the variance that is best for these trials
        n = trials.n_observed
        deviance = n * (1 + ((deviance / n).clamp_min(LEAST_NOISE) * 2 * math.pi).log())
    return -0.5 * deviance - divergence


def _deviance(network, observation, trials, z):
    states = network.decode(z, trials.n_steps)
    return observation.deviance(states, trials.y, trials.weight)
