"""Where the eigenvalues of RNNs lie."""

from __future__ import annotations

import numpy as np

from .._validation import check_option
from ..fixed_points import growth_rates
from ..spectra import eigenspectrum
from ._common import (
    check_jedi,
    colour_points,
    fade,
    handle,
    label_axes,
    labels_of,
    make_axes,
    scatter,
)

__all__ = ["EigenspectrumDisplay"]

KINDS = ("multipliers", "rates")
FAR = 5  # eigenvalues that decay so many times faster than the leak are left out of the view


class EigenspectrumDisplay:
    """Eigenvalues of RNNs in the complex plane, or as growth rate against frequency.

    It is recommended to use :meth:`from_estimator` or :meth:`from_rnns`.

    Parameters
    ----------
    spectrum : Eigenspectrum
        From :func:`~jedi_sklearn.eigenspectrum`.
    conditions : array-like of shape (n_rnns,), optional
        Colour of each RNN: labels, or a continuous quantity.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import RNNBatch
    >>> from jedi_sklearn.plotting import EigenspectrumDisplay
    >>> rnns = RNNBatch.from_dense(np.random.default_rng(0).normal(size=(4, 10, 10)) / 3)
    >>> display = EigenspectrumDisplay.from_rnns(rnns, conditions=list("aabb"), kind="rates")
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('growth rate (1/s)', 'frequency (Hz)')
    """

    def __init__(self, spectrum, conditions=None):
        self.spectrum = spectrum
        self.conditions = conditions

    @classmethod
    def from_estimator(
        cls, est, X, conditions=None, *, at="origin", inputs=None, ax=None, **plot_options
    ):
        """Draw the spectra of the RNNs behind trials.

        Parameters
        ----------
        est : JEDIEstimator
            Fitted.
        X : array-like of shape (n_trials, n_timesteps, n_neurons), or Recording
        conditions : array-like of shape (n_trials,), optional
            Colour of each trial: labels, or a continuous quantity. Default: the
            labels of a recording.
        at : {"origin", "weights", "trajectory", "equivalent"} or array-like, default="origin"
            Where to linearise, as in :func:`~jedi_sklearn.eigenspectrum`.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, if and only if the fit had them.
        ax : matplotlib Axes, optional
            Default: those of a new figure.
        **plot_options :
            As in :meth:`plot`.

        Returns
        -------
        EigenspectrumDisplay
        """
        check_jedi(est)
        conditions = labels_of(X, conditions)
        rnns = est.dynamics(X, inputs=inputs)
        return cls.from_rnns(rnns, at, conditions, ax=ax, **plot_options)

    @classmethod
    def from_rnns(cls, rnns, at="origin", conditions=None, *, ax=None, **plot_options):
        """Draw the spectra of RNNs.

        Parameters
        ----------
        rnns : RNNBatch
        at : {"origin", "weights", "trajectory", "equivalent"} or array-like, default="origin"
            Where to linearise, as in :func:`~jedi_sklearn.eigenspectrum`. At several states,
            such as "trajectory", there is a point for each.
        conditions : array-like of shape (n_rnns,), optional
            Colour of each RNN: labels, or a continuous quantity.
        ax : matplotlib Axes, optional
            Default: those of a new figure.
        **plot_options :
            As in :meth:`plot`.

        Returns
        -------
        EigenspectrumDisplay
        """
        return cls(eigenspectrum(rnns, at), conditions).plot(ax=ax, **plot_options)

    def plot(
        self,
        kind="multipliers",
        ax=None,
        *,
        cyclic=False,
        conditions_label=None,
        whole_circle=False,
        legend=True,
        scatter_kwargs=None,
    ):
        """Draw the spectra.

        Parameters
        ----------
        kind : {"multipliers", "rates"}, default="multipliers"
            "multipliers": eigenvalues of one time step in the complex plane, with the unit
            circle; what lies outside grows. "rates": growth rate (1/s) against frequency (Hz),
            of a conjugate pair once, with the line of no growth. Eigenvalues that decay more
            than five times faster than the leak are out of view, their share is noted.
        ax : matplotlib Axes, optional
            Default: those of a new figure.
        cyclic : bool or float, default=False
            Whether continuous conditions are angles, and their period; True stands for 2 pi.
        conditions_label : str, optional
            Title of the legend or label of the colour bar, e.g. "frequency (Hz)".
        whole_circle : bool, default=False
            Show all of the unit circle instead of the part near the multipliers.
        legend : bool, default=True
            Draw the legend, and the colour bar of continuous conditions.
        scatter_kwargs : dict, optional
            Passed to ``Axes.scatter`` for the eigenvalues. A colour, or one for each RNN, takes
            the place of conditions; a marker that of those by which labels of one colour differ.

        Returns
        -------
        EigenspectrumDisplay
        """
        check_option(kind, "kind", KINDS)
        values = np.asarray(self.spectrum.multipliers)
        n = len(values)
        values = values.reshape(n, -1)  # eigenvalues at all states of an RNN look alike
        rows, columns = np.nonzero(~np.isnan(values))  # not after the end of a trial
        values = values[rows, columns]
        colours, given = colour_points(self.conditions, n, cyclic, scatter_kwargs)
        make_figure = ax is None
        ax = make_axes(ax, figsize=(5.8, 4.2))
        size = 14 if values.size < 5000 else 6
        options = {"alpha": fade(values.size), "s": size, "zorder": 2} | given
        draw = self._multipliers if kind == "multipliers" else self._rates
        handles = draw(ax, values, rows, colours, options, whole_circle)
        if kind == "multipliers" and make_figure:
            ax.spines[["top", "right"]].set_visible(True)
            ax.set_anchor("W")  # room of the legend
        if legend:
            colours.explain(ax, conditions_label, handles, grow=make_figure)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _mark_leak(self, ax, x):
        style = {"marker": "x", "ms": 7, "color": "black", "markeredgewidth": 1.3}
        ax.plot([x], [0], linestyle="none", gid="leak", zorder=3, **style)
        return handle("leak alone", **style)

    def _multipliers(self, ax, flat, rows, colours, options, whole_circle):
        angle = np.linspace(0, 2 * np.pi, 2001)
        circle = {"color": "0.5", "lw": 1, "linestyle": "-"}
        ax.plot(np.cos(angle), np.sin(angle), **circle, gid="unit circle", zorder=1)
        scatter(ax, np.stack([flat.real, flat.imag], axis=1), colours, rows, **options)
        handles = [handle("unit circle", **circle), self._mark_leak(ax, self.spectrum.leak)]
        x = np.append(flat.real, [self.spectrum.leak, 1, *([-1] if whole_circle else [])])
        y = np.abs(flat.imag).max(initial=1.0 if whole_circle else 0.0)
        half = 1.12 * max(y, np.ptp(x) / 2)
        centre = (x.min() + x.max()) / 2
        ax.set(xlim=(centre - half, centre + half), ylim=(-half, half))
        ax.set_aspect("equal", adjustable="box")
        label_axes(ax, ("multiplier, real part (per step)", "imaginary part (per step)"))
        return handles

    def _rates(self, ax, values, rows, colours, options, whole_circle):
        dt = self.spectrum.dt
        rows, flat = rows[values.imag >= 0], values[values.imag >= 0]
        growth, frequency = growth_rates(flat, dt), np.abs(np.angle(flat)) / (2 * np.pi * dt)
        line = {"color": "0.5", "lw": 1, "linestyle": "--"}
        ax.axvline(0, **line, gid="no growth", zorder=1)
        scatter(ax, np.stack([growth, frequency], axis=1), colours, rows, **options)
        leak = float(growth_rates(self.spectrum.leak, dt))
        handles = [handle("no growth", **line), self._mark_leak(ax, leak)]
        limit = FAR * leak
        seen = growth >= limit
        left, right = growth[seen].min(initial=leak), growth[seen].max(initial=0)
        margin, top = 0.06 * (right - left), frequency[seen].max(initial=0)
        top = top if top > 0 else 1.0
        ax.set(xlim=(left - margin, right + margin), ylim=(-0.06 * top, 1.15 * top))
        if not seen.all():
            share = 100 * (1 - seen.mean())
            note = f"{share:.2g} % of the eigenvalues decay faster than {-limit:.0f}/s"
            ax.text(0.02, 0.98, note, transform=ax.transAxes, va="top", size="small", color="0.4")
        label_axes(ax, ("growth rate (1/s)", "frequency (Hz)"))
        return handles
