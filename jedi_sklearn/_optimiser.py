"""Which step does training make from a gradient? SOAP, or Adam."""

from __future__ import annotations

import torch

__all__ = ["Optimiser"]

BETAS = (0.9, 0.99)  # decay of the averages of the gradient and of its square
EPSILON = 1e-8
RIDGE = 1e-3  # of products, in units of their mean on the diagonal; below it axes hardly turn
FIRST = 10  # orthogonal iterations for the first axes
ROUNDING = 1e-2  # the same in units of the root mean square, on axes that are learned
FACTOR_DECAY = 0.95  # of the averages whose eigenvectors are the axes
REFRESH = 5  # steps between two updates of the axes
LONGEST = 256  # dimensions longer than this keep their own axes: those of 256 take 2 ms to follow


class Optimiser:
    """SOAP: Adam on axes along which gradients are uncorrelated.

    For each dimension of a parameter, the products of its gradients over all other dimensions are
    averaged over steps. Their eigenvectors are axes of this dimension, and Adam is run on the
    gradient in these axes. The axes follow the averages by one step of orthogonal iteration every
    few steps. Dimensions longer than `longest` keep the axes that they have; with 0 all do, which
    is Adam.

    Parameters
    ----------
    parameters : list of Tensor
        What is trained.
    factors : list of float
        Factor of the learning rate for each parameter.
    individual : list of bool, optional
        Whether the first dimension of each parameter counts individuals, which keep their own
        axes: to mix trials would mix their noise.
    longest : int
        Length up to which a dimension gets axes of its own.

    References
    ----------
    N. Vyas et al., "SOAP: Improving and stabilizing Shampoo using Adam", arXiv:2409.11321, 2024.
    D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    def __init__(self, parameters, factors, individual=None, longest=LONGEST):
        self.parameters, self.factors = parameters, factors
        individual = individual or [False] * len(parameters)
        pairs = zip(parameters, individual, strict=True)
        self.moments = [_Moments(p, longest, int(first)) for p, first in pairs]

    @torch.no_grad()
    def step(self, learning_rate):
        """Move all parameters that have a gradient."""
        for p, factor, moments in zip(self.parameters, self.factors, self.moments, strict=True):
            if p.grad is not None:
                p.sub_(moments.step(p.grad), alpha=learning_rate * factor)

    def state(self):
        """Return what `load` needs to continue identically."""
        return [vars(moments) for moments in self.moments]

    def load(self, state):
        """Continue from what `state` returned."""
        for moments, stored in zip(self.moments, state, strict=True):
            moments.load(stored)


class _Moments:
    """Averages of the gradients of one parameter, and the axes that they give."""

    def __init__(self, p, longest, first):
        self.n_steps = 0
        self.mean = torch.zeros_like(p, requires_grad=False)
        self.square = torch.zeros_like(self.mean)  # on the axes
        self.free = torch.zeros_like(self.mean, dtype=torch.bool)
        mixed = [d for d in range(first, p.dim()) if p.shape[d] <= longest and p.dim() > 1]
        self.products = {d: p.new_zeros(p.shape[d], p.shape[d]) for d in mixed}
        self.axes = {}

    def step(self, gradient):
        """Count a gradient in; compute the step for a learning rate of 1, to be subtracted."""
        self.n_steps += 1
        self._learn_axes(gradient)
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.lerp_(_turn(gradient, self.axes).square(), 1 - BETAS[1])
        first, second = (1 - beta**self.n_steps for beta in BETAS)
        size = (self.square / second).sqrt_()
        # on axes of its own most of a gradient may be rounding errors, which must not count
        least = size.square().mean().sqrt() * ROUNDING if self.axes else 0.0
        step = _turn(self.mean, self.axes).div(size + least + EPSILON)
        # axes mix entries; those that never had a gradient stay as they are
        self.free |= gradient != 0
        return _turn(step, self.axes, back=True).div_(first).mul_(self.free)

    def _learn_axes(self, gradient):
        for dim, products in self.products.items():
            rows = gradient.movedim(dim, 0).flatten(1)
            products.lerp_(rows @ rows.T, 1 - FACTOR_DECAY)
            if dim not in self.axes:
                self.axes[dim] = torch.eye(len(products), dtype=rows.dtype, device=rows.device)
                for _ in range(FIRST):
                    self._follow(dim)
            elif self.n_steps % REFRESH == 0:
                self._follow(dim)

    def _follow(self, dim):
        products, axes = self.products[dim], self.axes[dim]
        # axes without gradients stay, where rounding errors would turn them
        turned = products @ axes + RIDGE * products.diagonal().mean() * axes
        # orthogonal iteration wants large eigenvalues first; the squares follow their axes
        order = (axes * turned).sum(0).argsort(descending=True)
        self.square = self.square.index_select(dim, order)
        self.axes[dim] = torch.linalg.qr(turned[:, order]).Q

    def load(self, stored):
        """Continue from the attributes of another run."""
        like = self.mean.device
        for name, value in stored.items():
            if isinstance(value, dict):
                value = {d: a.to(like) for d, a in value.items()}
            setattr(self, name, value.to(like) if torch.is_tensor(value) else value)


def _turn(array, axes, back=False):
    for dim, turn in axes.items():
        array = torch.tensordot(array, turn.T if back else turn, ([dim], [0])).movedim(-1, dim)
    return array
