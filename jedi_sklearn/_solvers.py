"""How a fit starts and how it is trained: each option of `solver` is a class of `SOLVERS`."""

from __future__ import annotations

import torch

from ._hypernetwork import Hypernetwork
from ._schedule import Schedule
from ._validation import setting
from ._warm_start import warm_start

__all__ = ["SOLVERS", "Annealed", "Paper"]

# size of a mini-batch, "auto": values in all its trials, and limits of the number of trials
BATCH_VALUES, MIN_BATCH, MAX_BATCH = 2**24, 16, 200
# `departure` of the schedule with known inputs: they tell weights apart that the start does not
DRIVEN_DEPARTURE = 2.0
CONTINUED = 0.3  # factor of the learning rate; the full rate at first undoes the previous fit


class Solver:
    """Base class of the solvers, with the parts of a fit that they share.

    Attributes
    ----------
    skip : bool
        Whether a perceptron gets an affine path beside its hidden layers.
    regularised : bool
        Whether embeddings and weights have priors during training.
    learned_axes : bool
        Whether the optimiser is SOAP, not Adam.
    denoises : bool
        Whether `start` sees denoised trials; so does training while teacher forcing falls, unless
        inputs are known.
    silences : bool
        Whether `start` accepts `drive`, which says which neurons should drive others.
    """

    skip = True
    regularised = True
    learned_axes = True
    denoises = True
    silences = False

    @classmethod
    def schedule(cls, est, trials, continued):
        """Make the schedule of the optimiser."""
        teacher_forcing, final_teacher_forcing = cls.teacher_forcing(est, trials.n_inputs)
        batch = est.batch_size
        if batch == "auto":
            n_steps, _, n_neurons = trials.shape
            batch = min(max(BATCH_VALUES // (n_steps * n_neurons), MIN_BATCH), MAX_BATCH)
        return Schedule(
            max_iter=est.max_iter,
            learning_rate=est.learning_rate_init * (CONTINUED if continued else 1),
            teacher_forcing=teacher_forcing,
            final_teacher_forcing=final_teacher_forcing,
            anneal=0.5,
            batch_size=batch,
            regularised=cls.regularised,
            departure=DRIVEN_DEPARTURE if trials.n_inputs else Schedule.departure,
            tol=est.tol,
            learned_axes=cls.learned_axes,
            patience=est.n_iter_no_change,
        )

    @classmethod
    def hypernetwork(cls, est, trials, n_components, rank, starts, generator):
        """Make a random hypernetwork of the form that the estimator's parameters describe."""
        return Hypernetwork(
            n_components,
            trials.shape[2],
            rank,
            est.connectivity,
            tuple(est.hidden_layer_sizes) if est.hypernetwork == "mlp" else (),
            skip=cls.skip,
            n_inputs=trials.n_inputs,
            starts=starts,
            generator=generator,
        ).to(trials.device)


class Annealed(Solver):
    """Solver with a closed-form start and declining teacher forcing."""

    silences = True

    @staticmethod
    def teacher_forcing(est, n_inputs):
        """Return the strength of teacher forcing at the start and at the end of a fit."""
        first, last = (setting(est, f"{when}teacher_forcing") for when in ("", "final_"))
        if last == "auto":
            last = first / 2 if n_inputs else 0.0
        return first, last

    @staticmethod
    def start(
        hypernetwork,
        trials,
        q,
        initial,
        embedding_index,
        alpha,
        generator,
        processes,
        drive=None,
    ):
        """Start the hypernetwork; return embeddings (embeddings, n_components)."""
        d, rank = hypernetwork.n_components, hypernetwork.config["rank"]
        how = (q, initial, rank, d, alpha, embedding_index, processes, drive)
        U, V, maps, c, B = warm_start(trials, *how)
        hypernetwork.start_from(U, V, maps, B)
        return c


class Paper(Solver):
    """Solver of the paper: a random start, and Adam on the free run alone."""

    skip = False
    regularised = False
    learned_axes = False
    denoises = False

    @staticmethod
    def teacher_forcing(est, n_inputs):
        """Return zeros: there is no teacher forcing."""
        return 0.0, 0.0

    @staticmethod
    def start(hypernetwork, trials, q, initial, embedding_index, alpha, generator, processes):
        """Draw random embeddings (embeddings, n_components), for random weights."""
        n = len(trials) if embedding_index is None else int(embedding_index.max()) + 1
        size = (n, hypernetwork.n_components)
        c = torch.randn(*size, generator=generator, dtype=torch.float32)
        return c.to(trials.device, trials.dtype)


SOLVERS = {"annealed": Annealed, "paper": Paper}
