"""The fitted model: what infers embeddings of trials and generates activity from embeddings.

It holds a frozen float64 hypernetwork on the CPU with the scaling, the prior of the embeddings
and the noise level, and knows nothing of how they were trained.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.cluster import KMeans
from sklearn.utils import Bunch

from ._distributed import ALONE
from ._hypernetwork import Hypernetwork
from ._inference import GaussianPrior, InitialState, error_bars, infer
from ._missing import Filler
from ._rollout import follow, simulate
from ._training import residual_inflation
from ._trials import as_trials, blocks
from .rnn import RNNBatch

__all__ = ["FittedModel"]

N_CENTRES = 32  # cluster centres of the training embeddings, candidates for starts
BLOCK_VALUES, MAX_BLOCK = 2**23, 64  # inferred at a time: 64 MB of float64
MEANS = ("H", "first", "distance")  # of what is inferred, kept as a mean over trials
NOISE_FLOOR = 1e-8  # of the data's variance, so that noise-free data leave a regular system


@dataclass
class FittedModel:
    """Hypernetwork, prior of p = [c, q], start, noise and scaling of a fit."""

    hyper: Hypernetwork
    prior: GaussianPrior
    initial: InitialState
    dt: float
    tau: float
    noise: float  # variance of the residuals, scaled units
    noise_of_neuron: np.ndarray  # the same of each neuron
    inflation: float  # samples in time per independent residual
    mean: np.ndarray
    scale: np.ndarray
    filler: Filler
    input_scale: np.ndarray | None  # RMS of each channel of known input
    n_starts: int

    @classmethod
    def from_training(
        cls, hyper, c, q, trials, initial, rows, *, variance, seed, processes=ALONE, **rest
    ):
        """Freeze a trained hypernetwork and learn prior and noise from its training trials.

        Parameters
        ----------
        hyper : Hypernetwork
        c, q : Tensor
            Trained embeddings (embeddings, d) and initial-state coordinates (trials, n).
        trials : Trials or LazyTrials
        initial : InitialState
        rows : Tensor or None
            Embedding of each trial.
        variance : float
            Of the trials.
        seed : int or RandomState
            Of the clustering that gives the starts.
        processes : Processes
            Each goes through its share of the trials.
        **rest : dict
            The remaining fields.
        """
        each = c if rows is None else c[rows]
        alpha = rest["dt"] / rest["tau"]
        squares = c.new_zeros(trials.shape[2], dtype=torch.float64)
        count, inflation = torch.zeros_like(squares), torch.zeros_like(squares[:1])
        with torch.no_grad():
            for i in processes.share(blocks(trials)):
                some = trials[i]
                x0 = initial(q[i], some.data[0])
                error = simulate(hyper(each[i]), x0, trials.n_steps, alpha, some.inputs)
                error = some.observed(error.sub_(some.data))
                squares += error.square().sum((0, 1), dtype=torch.float64)
                count += error[..., 0].numel() if some.mask is None else some.mask.sum((0, 1))
                inflation += residual_inflation(error) * len(i) / len(trials)
        processes.sum_(squares, count, inflation)
        if not torch.isfinite(squares).all():
            raise FloatingPointError(
                "Training diverged: the free run of the trained model is not finite. Try a "
                "smaller learning_rate_init, a smaller rank, or more steps (max_iter)."
            )
        floor = NOISE_FLOOR * variance
        c, each, q = (a.detach().double().cpu() for a in (c, each, q))
        n_centres = min(N_CENTRES, len(np.unique(c.numpy(), axis=0)))
        centres = KMeans(n_centres, n_init=1, random_state=seed).fit(c.numpy())
        frozen = copy.deepcopy(hyper).double().cpu().requires_grad_(False)
        if initial.size:
            initial = InitialState(initial.mean.double().cpu(), initial.directions.double().cpu())
        return cls(
            hyper=frozen,
            prior=GaussianPrior(
                torch.cat([each.mean(0), q.mean(0)]),
                torch.block_diag(_precision(c), _precision(q)),
                torch.as_tensor(centres.cluster_centers_),
            ),
            initial=initial,
            noise=max(float(squares.sum() / count.sum()), floor),
            # a neuron that only trials left out have is taken as noisy as all together
            noise_of_neuron=torch.where(count > 0, squares / count, squares.sum() / count.sum())
            .clamp_min(floor)
            .cpu()
            .numpy(),
            inflation=float(inflation),
            **rest,
        )

    def infer(
        self,
        X,
        device,
        inputs=None,
        *,
        starts=False,
        errors=False,
        correction=None,
        n_starts=None,
        n_jobs=None,
        processes=ALONE,
    ):
        """Posterior modes of trials (NaN where missing), block by block, as arrays.

        The blocks do not depend on how many work on them, nor does the answer.

        Returns
        -------
        Bunch
            ``p`` (trials, m), ``sse`` (trials,) in scaled units, ``converged`` (trials,), and
            means over the trials: ``H`` (m, m) of the curvatures, ``first`` (neurons,) of the
            first samples, ``distance`` of the mean square of the initial states, all scaled. With
            `starts` also ``x0`` (trials, neurons), scaled; with `errors` also ``covariance``
            (trials, m, m) of p. With a `correction` the errors are those of runs that take in
            this share of them as they go, and ``last`` (trials, neurons) is where these end,
            scaled.
        """
        size = min(max(BLOCK_VALUES // (X.shape[1] * X.shape[2]), 1), MAX_BLOCK)
        parts = [slice(first, first + size) for first in range(0, len(X), size)]
        with processes.together():
            found = Parallel(n_jobs=n_jobs)(
                delayed(self._infer_block)(
                    X[i],
                    None if inputs is None else inputs[i],
                    device,
                    starts,
                    errors,
                    correction,
                    n_starts or self.n_starts,
                )
                for i in processes.share(parts)
            )
        found = processes.gather(found)
        out = {name: np.stack([block[name] for block in found]).sum(0) / len(X) for name in MEANS}
        for name in found[0].keys() - set(MEANS):
            out[name] = np.concatenate([block[name] for block in found])
        return Bunch(**out)

    def _infer_block(self, X, inputs, device, starts, errors, correction, n_starts):
        hyper = copy.deepcopy(self.hyper).to(device)
        prior = GaussianPrior(*(a.to(device) for a in vars(self.prior).values()))
        initial = self.initial
        if initial.size:
            initial = InitialState(initial.mean.to(device), initial.directions.to(device))
        u = None if inputs is None else inputs / self.input_scale
        trials = as_trials(X, u, self.mean, self.scale, self.filler, torch.float64, device)
        weight, alpha = 1 / (self.noise * self.inflation), self.dt / self.tau
        rest = (prior, weight, alpha, initial)
        how = {"forcing": correction or 0.0, "n_starts": n_starts}
        p, H, sse, converged = infer(hyper, trials, *rest, **how)
        x0 = initial(p[:, hyper.n_components :], trials.data[0])
        found = {"p": p, "sse": sse, "converged": converged, "H": H.sum(0)}
        found |= {"first": trials.data[0].sum(0), "distance": x0.square().mean(1).sum(0)}
        if starts:
            found["x0"] = x0
        if correction is not None:
            weights = hyper(p[:, : hyper.n_components])
            found["last"] = follow(weights, x0, trials, alpha, correction)
        if errors:
            noise = torch.as_tensor(self.noise_of_neuron, device=device)
            found["covariance"] = error_bars(hyper, trials, p, H, *rest, noise, self.inflation)
        return {name: a.cpu().numpy() for name, a in found.items()}

    def thaw(self, X, inputs, rows, device, dtype, processes=ALONE):
        """Hypernetwork, embeddings, coordinates of initial states and these, to train on X.

        The embeddings are those that `infer` finds, one for each trial or, with `rows`, the mean
        of the trials that share it.
        """
        d = self.hyper.n_components
        found = self.infer(X, device, inputs, processes=processes)
        p = torch.as_tensor(found.p, device=device)
        c, q = p[:, :d], p[:, d:].to(dtype)
        if rows is not None:
            total = c.new_zeros(int(rows.max()) + 1, d).index_add_(0, rows, c)
            c = total / torch.bincount(rows)[:, None]
        initial = self.initial
        if initial.size:
            initial = InitialState(*(a.to(device, dtype) for a in vars(initial).values()))
        hyper = copy.deepcopy(self.hyper).to(device, dtype).requires_grad_(True)
        return hyper, c.to(dtype), q, initial

    def fix_gauge(self, found):
        """Change coordinates so that the embeddings found are canonical; return them.

        Zero mean, identity covariance, axes by falling effect on the generated activity (the
        mean Gauss-Newton matrix), the largest entry of each axis positive. RNNs, prior and
        posterior stay what they are.
        """
        d = self.hyper.n_components
        c = torch.as_tensor(found.p[:, :d])
        shift = c.mean(0)
        spread, axes = torch.linalg.eigh(torch.cov(c.t(), correction=0).reshape(d, d))
        varied = int((spread > 1e-8 * spread.max().clamp_min(1e-12)).sum())
        if varied < d:
            advice = f"leave out repeated trials, or set n_components={varied} or less"
            if not varied:
                advice = "all trials are alike, so that there is nothing to embed"
            raise ValueError(
                f"Only {varied} of the {d} dimensions of the embedding vary between trials: "
                f"{advice}."
            )
        white = axes * spread.sqrt()
        effect = torch.as_tensor(found.H[:d, :d]) - self.prior.precision[:d, :d]
        _, order = torch.linalg.eigh(white.t() @ effect @ white)
        matrix = white @ order.flip(-1)
        new = torch.linalg.solve(matrix, (c - shift).t()).t()
        sign = torch.sign(new.gather(0, new.abs().argmax(0, keepdim=True)))[0]
        sign[sign == 0] = 1
        matrix, new = matrix * sign, new * sign
        self.hyper.change_coordinates(shift, matrix)
        everything = torch.block_diag(matrix, torch.eye(self.initial.size, dtype=c.dtype))
        mean = self.prior.mean.clone()
        mean[:d] = torch.linalg.solve(matrix, mean[:d] - shift)
        self.prior = replace(
            self.prior,
            mean=mean,
            precision=everything.t() @ self.prior.precision @ everything,
            centres=torch.linalg.solve(matrix, (self.prior.centres - shift).t()).t(),
        )
        return new.numpy()

    @torch.no_grad()
    def generate(self, E, x0, n_timesteps, inputs=None):
        """Free runs in the units of the data, (trials, time, neurons); x0 is scaled."""
        out = np.empty((len(E), n_timesteps, len(self.mean)))
        for first in range(0, len(E), MAX_BLOCK):
            i = slice(first, first + MAX_BLOCK)
            weights = self.hyper(torch.as_tensor(E[i]))
            u = None
            if inputs is not None:
                u = torch.tensor(inputs[i] / self.input_scale).transpose(0, 1)
            run = simulate(weights, torch.tensor(x0[i]), n_timesteps, self.dt / self.tau, u)
            out[i] = run.transpose(0, 1).numpy() * self.scale + self.mean
        return out

    @torch.no_grad()
    def rnns(self, E, **free_run):
        """The RNNs of embeddings, in scaled units; `free_run` holds start and length."""
        w = {name: a.numpy() for name, a in self.hyper(torch.as_tensor(E)).items()}
        rest = {"dt": self.dt, "tau": self.tau, **free_run}
        if "B" in w:
            rest["input_weights"] = w["B"] / self.input_scale
        if "J" in w:
            return RNNBatch.from_dense(w["J"], bias=w["bias"], **rest)
        if "core" in w:
            return RNNBatch(w["U"], w["V"], w["core"], bias=w["bias"] @ w["U"].T, **rest)
        return RNNBatch(w["U"], w["V"], bias=w["bias"], **rest)


def _precision(values):
    """Inverse covariance of (few) rows, regularised towards its mean variance."""
    d = values.shape[1]
    if not d:
        return values.new_zeros(0, 0)
    cov = torch.cov(values.t(), correction=0).reshape(d, d)
    size = cov.diagonal().mean().clamp_min(1e-12)
    return torch.linalg.inv(cov + 1e-3 * size * torch.eye(d, dtype=cov.dtype))
