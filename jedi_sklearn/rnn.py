"""A batch of RNNs from plain arrays: step, simulate, Jacobian and eigenvalues."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral

import numpy as np

from ._validation import (
    as_numbers,
    as_plain_array,
    check_number,
    check_seed,
    warn_of_milliseconds,
    warn_user,
)

__all__ = ["RNNBatch"]

SATURATED = 3.0  # |state| above which a neuron's gain, tanh', is below about a hundredth
MANY_FAR = 0.25  # share of values; 0.01 for data, up to 0.25 for fixed points beyond all data


class RNNBatch:
    r"""Batch of n leaky tanh RNNs that share their size, time constant and time step.

    RNN k follows (:math:`\alpha` = ``dt / tau``)

    .. math:: x[t+1] = (1-\alpha)\, x[t] + \alpha\,(J_k \tanh(x[t]) + b_k + B_k u[t])

    with one of three connectivities:

    - ``"shared"``: :math:`J_k = U G_k V^T`, with `U` and `V` common to the batch,
    - ``"low_rank"``: :math:`J_k = U_k V_k^T` (or :math:`U_k G_k V_k^T`),
    - ``"full_rank"``: a dense :math:`J_k`, see :meth:`from_dense`.

    A batch supports ``len``, indexing and iteration over RNNs, so scikit-learn can split it like
    an array of samples. It does not depend on how the RNNs were fitted.

    Parameters
    ----------
    U, V : array-like of shape (n_neurons, rank) or (n_rnns, n_neurons, rank)
        Left and right factors. 2-D factors are shared by all RNNs.
    core : array-like of shape (n_rnns, rank, rank), optional
        The cores :math:`G_k`. Default: the identity.
    bias : array-like of shape (n_neurons,) or (n_rnns, n_neurons), optional
        Constant drive :math:`b_k`. Default: zero.
    input_weights : array-like of shape (n_neurons, n_inputs) or (n_rnns, ..., ...), optional
        Input weights :math:`B_k`: one matrix for the batch, or one for each RNN.
    dt : float, default=0.01
        Time step, s.
    tau : float, default=0.1
        Time constant of each neuron, s.
    initial_states : array-like of shape (n_neurons,) or (n_rnns, n_neurons), optional
        Initial states of :meth:`free_run`.
    n_timesteps : int, optional
        Number of samples of these free runs.
    inputs : array-like of shape (n_rnns, n_timesteps, n_inputs), optional
        Inputs during these free runs.
    lengths : array-like of int of shape (n_rnns,), optional
        Number of samples of the trial behind each RNN, at most `n_timesteps`, if trials have
        unequal lengths. Analyses ignore the rest of its free run. Default: `n_timesteps`.

    Attributes
    ----------
    connectivity : {"shared", "low_rank", "full_rank"}
        How the weights are stored.
    n_neurons, n_inputs : int
        Numbers of neurons and input channels.
    rank : int
        Rank of the connectivity; at most this many eigenvalues are not zero.
    alpha : float
        Leak per step, ``dt / tau``.

    Raises
    ------
    ValueError
        If shapes do not match, values are not finite, or ``0 < dt < tau`` does not hold.

    Warns
    -----
    UserWarning
        If `tau` is 10 s or more, which suggests milliseconds.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import RNNBatch
    >>> u = np.ones((4, 1)) / 2.0
    >>> rnn = RNNBatch(u, 3.0 * u)              # one rank-1 RNN, eigenvalue 3
    >>> rnn.eigenvalues().real
    array([[3.]])
    >>> rnn.simulate(0.1 * np.ones((1, 4)), n_timesteps=5).shape
    (1, 5, 4)
    """

    def __init__(
        self,
        U,
        V,
        core=None,
        *,
        bias=None,
        input_weights=None,
        dt=0.01,
        tau=0.1,
        initial_states=None,
        n_timesteps=None,
        inputs=None,
        lengths=None,
    ):
        self.U = _own(U, "U", (2, 3))
        self.V = _own(V, "V", (2, 3))
        if self.U.shape != self.V.shape:
            raise ValueError(
                f"U and V must have the same shape, got {self.U.shape} and {self.V.shape}."
            )
        self.J = None
        self.core = None if core is None else _own(core, "core", (3,))
        n_neurons, rank = self.U.shape[-2:]
        if rank > n_neurons:
            raise ValueError(
                f"U and V have more columns ({rank}) than rows ({n_neurons} neurons). Multiply "
                "them: RNNBatch.from_dense(U @ V.T)."
            )
        if self.core is not None and self.core.shape[1:] != (rank, rank):
            raise ValueError(
                f"core must have shape (n_rnns, {rank}, {rank}) to fit U and V of rank {rank}, "
                f"got {self.core.shape}."
            )
        sizes = {
            name: len(a)
            for name, a in (("U", self.U), ("V", self.V), ("core", self.core))
            if a is not None and a.ndim == 3
        }
        run = (initial_states, n_timesteps, inputs, lengths)
        self._finish(sizes, bias, input_weights, dt, tau, *run)

    @classmethod
    def from_dense(
        cls,
        J,
        *,
        bias=None,
        input_weights=None,
        dt=0.01,
        tau=0.1,
        initial_states=None,
        n_timesteps=None,
        inputs=None,
        lengths=None,
    ):
        """Make a full-rank batch from dense weight matrices.

        Parameters
        ----------
        J : array-like of shape (n_neurons, n_neurons) or (n_rnns, n_neurons, n_neurons)
            Recurrent weights; ``J[i, j]`` is the weight from neuron j to neuron i.
        bias : array-like of shape (n_neurons,) or (n_rnns, n_neurons), optional
            Constant drive. Default: zero.
        input_weights : array-like of shape (n_neurons, n_inputs) or \
                (n_rnns, n_neurons, n_inputs), optional
            Input weights.
        dt : float, default=0.01
            Time step, s.
        tau : float, default=0.1
            Time constant of each neuron, s.
        initial_states : array-like of shape (n_neurons,) or (n_rnns, n_neurons), optional
            Initial states of :meth:`free_run`.
        n_timesteps : int, optional
            Number of samples of these free runs.
        inputs : array-like of shape (n_rnns, n_timesteps, n_inputs), optional
            Inputs during these free runs.
        lengths : array-like of int of shape (n_rnns,), optional
            Number of samples of the trial behind each RNN. Default: `n_timesteps`.

        Returns
        -------
        RNNBatch
            Batch with ``connectivity == "full_rank"``.
        """
        self = cls.__new__(cls)
        J = _own(J, "J", (2, 3))
        self.J = J[np.newaxis] if J.ndim == 2 else J
        if self.J.shape[1] != self.J.shape[2]:
            raise ValueError(f"J must be square, got shape {J.shape}.")
        self.U = self.V = self.core = None
        sizes = {"J": len(self.J)}
        run = (initial_states, n_timesteps, inputs, lengths)
        self._finish(sizes, bias, input_weights, dt, tau, *run)
        return self

    @classmethod
    def concatenate(cls, batches):
        """Join batches of RNNs of one size into one batch.

        Parameters
        ----------
        batches : sequence of RNNBatch
            Batches with the same n_neurons, n_inputs, dt and tau. Ranks and connectivities may
            differ.

        Returns
        -------
        RNNBatch
            All RNNs, with connectivity "shared" if all batches are "shared" and have the same
            bases, "full_rank" if any batch is, and "low_rank" otherwise. It has initial states
            and a number of samples if all batches have them. Each RNN keeps its own length, and
            inputs are 0 after that.

        Raises
        ------
        ValueError
            If sizes, time steps or time constants differ, or if there is no batch.
        TypeError
            If `batches` does not hold batches of RNNs.
        """
        batches = list(batches) if isinstance(batches, Iterable) else batches
        if not isinstance(batches, list) or not all(isinstance(b, RNNBatch) for b in batches):
            raise TypeError(f"batches must be a sequence of RNNBatch, got {batches!r}.")
        if not batches:
            raise ValueError("Expected at least one batch of RNNs to join, got none.")
        for name in ("n_neurons", "n_inputs", "dt", "tau"):
            values = sorted({getattr(b, name) for b in batches})
            if len(values) > 1:
                raise ValueError(
                    f"RNNs of one batch must agree on {name}, got {values}. Keep them in "
                    "separate batches."
                )
        rest = {"dt": batches[0].dt, "tau": batches[0].tau}
        if all(b.n_timesteps is not None for b in batches):
            rest["n_timesteps"] = max(b.n_timesteps for b in batches)
            rest["lengths"] = np.concatenate([b.lengths for b in batches])
        for name, shape in (
            ("bias", lambda b: b.shape),
            ("input_weights", lambda b: (*b.shape, b.n_inputs)),
            ("initial_states", lambda b: b.shape),
        ):
            arrays = [getattr(b, name) for b in batches]
            if all(a is not None for a in arrays):
                pairs = zip(arrays, batches, strict=True)
                rest[name] = np.concatenate([np.broadcast_to(a, shape(b)) for a, b in pairs])
        if all(b.inputs is not None for b in batches):
            n = rest["n_timesteps"]
            longer = [np.pad(b.inputs, ((0, 0), (0, n - b.n_timesteps), (0, 0))) for b in batches]
            rest["inputs"] = np.concatenate(longer)
        if any(b.J is not None for b in batches):
            return cls.from_dense(np.concatenate([b.to_dense() for b in batches]), **rest)
        U, V = batches[0].U, batches[0].V
        if all(b.connectivity == "shared" and b.core is not None for b in batches) and all(
            np.array_equal(b.U, U) and np.array_equal(b.V, V) for b in batches
        ):
            return cls(U, V, np.concatenate([b.core for b in batches]), **rest)
        factors = []
        for b in batches:  # missing ranks are columns of zeros
            left = b.U if b.core is None else np.matmul(b.U, b.core)
            pad = ((0, 0), (0, 0), (0, max(c.rank for c in batches) - b.rank))
            shape = (*b.shape, b.rank)
            factors.append([np.pad(np.broadcast_to(a, shape), pad) for a in (left, b.V)])
        left, right = (np.concatenate(f) for f in zip(*factors, strict=True))
        return cls(left, right, **rest)

    def _finish(
        self, sizes, bias, input_weights, dt, tau, initial_states, n_timesteps, inputs, lengths
    ):
        for name, value in (("dt", dt), ("tau", tau)):
            value = value[()] if isinstance(value, np.ndarray) else value  # 0-D arrays
            check_number(value, name, unit="s")
        self.dt, self.tau = float(dt), float(tau)
        if not 0 < self.dt < self.tau:
            raise ValueError(f"Expected 0 < dt < tau (both in s), got dt={dt}, tau={tau}.")
        warn_of_milliseconds(self.dt, self.tau)
        n = self.n_neurons
        self.bias = np.zeros(n) if bias is None else _own(bias, "bias", (1, 2))
        self.initial_states = None
        if initial_states is not None:
            self.initial_states = _own(initial_states, "initial_states", (1, 2))
        for name in ("bias", "initial_states"):
            a = getattr(self, name)
            if a is None:
                continue
            if a.shape[-1] != n:
                raise ValueError(f"{name} must have n_neurons = {n} columns, got shape {a.shape}.")
            if a.ndim == 2:
                sizes[name] = len(a)
        self.n_timesteps = n_timesteps
        if n_timesteps is not None:
            check_number(n_timesteps, "n_timesteps", Integral, low=1)
        self._lengths = None
        if lengths is not None:
            self._lengths = _check_lengths(lengths, n_timesteps)
            sizes["lengths"] = len(self._lengths)
        self.input_weights = None
        if input_weights is not None:
            self.input_weights = _own(input_weights, "input_weights", (2, 3))
            if self.input_weights.shape[-2] != n:
                raise ValueError(
                    f"input_weights must have shape (..., n_neurons = {n}, n_inputs), "
                    f"got {self.input_weights.shape}."
                )
            if self.input_weights.ndim == 3:
                sizes["input_weights"] = len(self.input_weights)
        if len(set(sizes.values())) > 1:
            raise ValueError(f"Arrays disagree on the number of RNNs: {sizes}.")
        self._n_rnns = next(iter(sizes.values()), 1)
        self.inputs = None
        if inputs is not None:
            self.inputs = _own(inputs, "inputs", (3,))
            expected = (self._n_rnns, n_timesteps, self.n_inputs)
            if self.inputs.shape != expected or not self.n_inputs:
                raise ValueError(
                    f"inputs must have shape (n_rnns, n_timesteps, n_inputs) = {expected} and "
                    f"go with input_weights, got {self.inputs.shape}."
                )

    @property
    def connectivity(self):
        """How the weights are stored: "shared", "low_rank" or "full_rank"."""
        if self.J is not None:
            return "full_rank"
        return "shared" if self.U.ndim == 2 else "low_rank"

    @property
    def n_neurons(self):
        """Number of neurons."""
        return (self.J if self.J is not None else self.U).shape[-1 if self.J is not None else -2]

    @property
    def n_inputs(self):
        """Number of input channels, 0 without input weights."""
        return 0 if self.input_weights is None else self.input_weights.shape[-1]

    @property
    def rank(self):
        """Rank of the connectivity (n_neurons in a full-rank batch)."""
        return self.n_neurons if self.J is not None else self.U.shape[-1]

    @property
    def alpha(self):
        """Leak per step, dt / tau."""
        return self.dt / self.tau

    @property
    def lengths(self):
        """Samples of the trial behind each RNN, (n_rnns,); None if they are not known."""
        if self.n_timesteps is None:
            return None
        each = np.full(self._n_rnns, self.n_timesteps)
        return each if self._lengths is None else np.minimum(each, self._lengths)

    @property
    def has_free_run(self):
        """Whether the batch has initial states and a number of samples for free runs."""
        return self.initial_states is not None and self.n_timesteps is not None

    @property
    def shape(self):
        """Numbers of RNNs and neurons, (n_rnns, n_neurons)."""
        return (self._n_rnns, self.n_neurons)

    def __array__(self, *args, **kwargs):
        """Refuse to become an array: numpy would stack batches of one RNN without end."""
        raise TypeError(
            "RNNs (RNNBatch) are not numbers. Analyse them first: in a Pipeline put an analyzer "
            'after JEDIEstimator(output="dynamics"), such as EigenspectrumAnalyzer, or use '
            "to_dense() for their weights."
        )

    def __len__(self):
        return self._n_rnns

    def __getitem__(self, index):
        """Select RNNs by an integer, slice, mask or integer array; returns a batch."""
        index = np.atleast_1d(np.arange(self._n_rnns)[index])
        if index.ndim > 1:
            raise IndexError(
                "Select RNNs by an integer, a slice, a mask or a 1-D array of integers, "
                f"got an index of shape {index.shape}."
            )

        def take(a, ndim):
            return a[index] if a is not None and a.ndim == ndim else a

        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.U, new.V, new.core = take(self.U, 3), take(self.V, 3), take(self.core, 3)
        new.J, new.bias = take(self.J, 3), take(self.bias, 2)
        new.input_weights = take(self.input_weights, 3)
        new.initial_states, new.inputs = take(self.initial_states, 2), take(self.inputs, 3)
        new._lengths = take(self._lengths, 1)
        new._n_rnns = len(index)
        return new

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return (
            f"RNNBatch(n_rnns={len(self)}, n_neurons={self.n_neurons}, rank={self.rank}, "
            f"connectivity={self.connectivity!r}, dt={self.dt:g}, tau={self.tau:g})"
        )

    # ------------------------------------------------------------------ dynamics

    def _recurrent(self, rates):
        """Multiply J_k by rates of shape (n, neurons), at the cost of the factors."""
        if self.J is not None:
            return np.matmul(self.J, rates[..., np.newaxis])[..., 0]
        latent = _rows(rates, self.V)  # (n, rank)
        if self.core is not None:
            latent = np.matmul(self.core, latent[..., np.newaxis])[..., 0]
        return _rows(latent, np.swapaxes(self.U, -1, -2))  # (n, neurons)

    def _drive(self, inputs, n_states):
        if inputs is None:
            return 0.0
        if self.input_weights is None:
            raise ValueError("inputs were given, but these RNNs have no input_weights.")
        if inputs.shape[-1] != self.n_inputs:
            raise ValueError(
                f"inputs must have n_inputs = {self.n_inputs} channels, got {inputs.shape[-1]}."
            )
        if len(inputs) not in (1, n_states):
            raise ValueError(f"inputs has {len(inputs)} rows for {n_states} states.")
        return _rows(inputs, np.swapaxes(self.input_weights, -1, -2))

    def step(self, x, inputs=None):
        """Advance the states by one time step.

        Parameters
        ----------
        x : array-like of shape (n_rnns, n_neurons)
            States. If the batch holds one RNN, any number of rows.
        inputs : array-like of shape (n_rnns, n_inputs), optional
            Input during the step.

        Returns
        -------
        ndarray of shape (n_rnns, n_neurons)
            States after the step.
        """
        warn_if_far(self, self._check_states(x))
        return self._step(x, inputs)

    def _step(self, x, inputs=None):
        x = self._check_states(x)
        if inputs is not None:
            inputs = np.atleast_2d(_as_array(inputs, "inputs", (1, 2)))
        a = self.alpha
        drive = self._recurrent(np.tanh(x)) + self.bias + self._drive(inputs, len(x))
        return (1 - a) * x + a * drive

    def simulate(self, x0, n_timesteps, inputs=None, noise=0.0, random_state=None):
        """Simulate the free run.

        Parameters
        ----------
        x0 : array-like of shape (n_rnns, n_neurons)
            Initial states. A batch of one RNN accepts any number of rows.
        n_timesteps : int
            Number of samples, including the initial state.
        inputs : array-like of shape (n_rnns, n_timesteps, n_inputs), optional
            ``inputs[:, t]`` acts on the step from sample t to t + 1.
        noise : float, default=0
            SD of the Gaussian noise added to each neuron at each step.
        random_state : int, RandomState or None, default=None
            Seed of the noise.

        Returns
        -------
        ndarray of shape (n_rnns, n_timesteps, n_neurons)
            States; ``[:, 0]`` is `x0`.
        """
        warn_if_far(self, self._check_states(x0))
        return self._simulate(x0, n_timesteps, inputs, noise, random_state)

    def _simulate(self, x0, n_timesteps, inputs=None, noise=0.0, random_state=None):
        x = self._check_states(x0)
        check_number(n_timesteps, "n_timesteps", Integral, low=1)
        check_number(noise, "noise", low=0)
        if inputs is not None:
            inputs = _as_array(inputs, "inputs", (3,))
            if inputs.shape[:2] != (len(x), n_timesteps):
                raise ValueError(
                    f"inputs must have shape ({len(x)}, {n_timesteps}, n_inputs), "
                    f"got {inputs.shape}."
                )
        rng = check_seed(random_state)
        states = np.empty((len(x), n_timesteps, self.n_neurons))
        states[:, 0] = x
        for t in range(n_timesteps - 1):
            x = self._step(x, None if inputs is None else inputs[:, t])
            if noise:
                x += noise * rng.standard_normal(x.shape)
            states[:, t + 1] = x
        return states

    def free_run(self, n_timesteps=None, inputs=None):
        """Simulate from the initial states of the batch.

        Parameters
        ----------
        n_timesteps : int, optional
            Number of samples, including the initial state. Default: that of the batch.
        inputs : array-like of shape (n_rnns, n_timesteps, n_inputs), optional
            Inputs as in :meth:`simulate`. Default: those of the batch.

        Returns
        -------
        ndarray of shape (n_rnns, n_timesteps, n_neurons)
            States. Runs continue beyond the ends of shorter trials; the part within the trial
            of RNN k is ``free_run()[k, : lengths[k]]``.

        Raises
        ------
        ValueError
            If the batch has no initial states or no number of samples.
        """
        n_timesteps = self.n_timesteps if n_timesteps is None else n_timesteps
        if self.initial_states is None or n_timesteps is None:
            missing = "initial_states" if self.initial_states is None else "n_timesteps"
            raise ValueError(
                f"These RNNs have no {missing}, so their free runs are not known. Pass "
                f"{missing} to the constructor, pass states, or use JEDIEstimator.dynamics, "
                "which sets both."
            )
        if inputs is None and self.inputs is not None:
            if n_timesteps > self.inputs.shape[1]:
                raise ValueError(
                    f"The inputs of these RNNs end after {self.inputs.shape[1]} samples: pass "
                    f"inputs for {n_timesteps}."
                )
            inputs = self.inputs[:, :n_timesteps]
        x0 = np.broadcast_to(self.initial_states, self.shape)
        return self._simulate(x0, n_timesteps, inputs)

    def to_dense(self):
        """Multiply out the weights to dense matrices.

        Returns
        -------
        ndarray of shape (n_rnns, n_neurons, n_neurons)
            Recurrent weights J; ``J[i, j]`` is the weight from neuron j to neuron i.
        """
        if self.J is not None:
            return self.J.copy()
        left = self.U if self.core is None else np.matmul(self.U, self.core)
        J = np.matmul(left, np.swapaxes(self.V, -1, -2))
        return np.broadcast_to(J, (len(self), *J.shape[-2:])).copy()

    def jacobian(self, x=None):
        """Compute the Jacobian of one step with respect to the state, as a dense matrix.

        Parameters
        ----------
        x : array-like of shape (n_rnns, n_neurons), optional
            State at which to linearise. Default: the origin.

        Returns
        -------
        ndarray of shape (n_rnns, n_neurons, n_neurons)
            Jacobians, ``(1 - alpha) I + alpha J diag(tanh'(x))``. Their eigenvalues are the
            multipliers of the discrete-time map; ``1 - alpha`` has multiplicity at least
            n_neurons - rank.
        """
        J = self.to_dense() if x is None else self.to_dense() * self._slope(x)[:, np.newaxis, :]
        return (1 - self.alpha) * np.eye(self.n_neurons) + self.alpha * J

    def eigenvalues(self, x=None):
        """Compute the nonzero eigenvalues of the (effective) weights, from a rank x rank matrix.

        Parameters
        ----------
        x : array-like of shape (n_rnns, n_neurons), optional
            State at which to linearise. Default: the origin, where the effective weights are `J`.

        Returns
        -------
        ndarray of shape (n_rnns, rank), complex
            Eigenvalues of ``J diag(tanh'(x))`` by decreasing real part; of a conjugate pair, the
            one with positive imaginary part comes first. The corresponding multiplier of the map
            is ``1 + alpha (value - 1)``, and the continuous-time rate ``(value - 1) / tau``, 1/s.
        """
        slope = None if x is None else self._slope(x)
        if self.J is not None:
            M = self.J if slope is None else self.J * slope[:, np.newaxis, :]
        else:
            V = self.V if slope is None else self.V * slope[:, :, np.newaxis]
            M = np.matmul(np.swapaxes(V, -1, -2), self.U)  # (n, rank, rank)
            if self.core is not None:
                M = np.matmul(M, self.core)
        values = np.linalg.eigvals(M).astype(complex)
        n = len(M) if M.ndim == 3 and x is not None else len(self)
        values = np.broadcast_to(values, (n, self.rank))
        order = np.lexsort((-values.imag, -np.round(values.real, 12)), axis=-1)
        return np.take_along_axis(values, order, axis=-1)

    def _slope(self, x):
        x = self._check_states(x)
        warn_if_far(self, x)
        return 1 - np.tanh(x) ** 2

    def _check_states(self, x):
        x = np.atleast_2d(as_numbers(x, "States"))
        if x.ndim != 2 or x.shape[1] != self.n_neurons:
            raise ValueError(
                f"States must have shape (n_rnns, n_neurons = {self.n_neurons}), got {x.shape}."
            )
        if len(self) > 1 and len(x) != len(self):
            raise ValueError(
                f"{len(x)} states were given for {len(self)} RNNs. Pass one per RNN, "
                "or select one RNN, e.g. rnns[0], to run it from several states."
            )
        if not np.isfinite(x).all():
            raise ValueError("States hold NaN or infinite values.")
        return x


def warn_if_far(rnns, states):
    """Warn if states (..., n_neurons) lie as far outside the free runs as raw activity would.

    This is the case if many of their values are more than twice as large as any value of that
    neuron in the free runs, and too large to leave it any gain. NaN is ignored. If the batch has
    no free runs, there is no warning.
    """
    size = np.abs(states)
    many = MANY_FAR * np.isfinite(size).sum()
    if not rnns.has_free_run or (size > SATURATED).sum() <= many:  # spares the runs
        return
    own = np.abs(rnns.free_run()).max(axis=(0, 1))
    n_far = (size > np.maximum(SATURATED, 2 * own)).sum()
    if n_far > many:
        warn_user(
            f"{100 * n_far / np.isfinite(size).sum():.0f} % of the values of these states are "
            "more than twice as large as any value of the same neuron in the free runs of the "
            "RNNs. Are they activity in the units of the data? To convert activity X to states "
            "use est.to_states(X)."
        )


def _rows(rows, matrix):
    """Compute rows @ matrix, with one matrix for all rows or one for each."""
    if matrix.ndim == 2:
        return rows @ matrix
    return np.matmul(rows[:, np.newaxis, :], matrix)[:, 0]


def _own(values, name, ndims):
    """Copy an array, so that the caller cannot change it."""
    return np.array(_as_array(values, name, ndims))


def _check_lengths(lengths, n_timesteps):
    array = as_plain_array(lengths, "lengths")
    if n_timesteps is None:
        raise ValueError("lengths are of parts of free runs: pass n_timesteps as well.")
    fits = array.ndim == 1 and array.dtype.kind in "iu"
    if not fits or (array < 1).any() or (array > n_timesteps).any():
        raise ValueError(
            "lengths must hold one integer for each RNN, from 1 to n_timesteps = "
            f"{n_timesteps}, got {lengths!r}."
        )
    return array.astype(int)  # a copy


def _as_array(values, name, ndims):
    array = as_numbers(values, name)
    if array.ndim not in ndims:
        expected = " or ".join(f"{d}-D" for d in ndims)
        raise ValueError(f"{name} must be {expected}, got shape {array.shape}.")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds NaN or infinite values.")
    return array
