"""Where the eigenvalues of RNNs lie: a plot of their spectra."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from .._validation import check_option
from ..fixed_points import frequencies, growth_rates
from ..spectra import eigenspectrum
from ._colours import colour_points, scatter
from ._common import check_jedi, fade, handle, label_axes, labels_of, make_axes, note, robust_range

__all__ = ["EigenspectrumDisplay"]

KINDS = ("multipliers", "rates")
MANY, EACH = 1000, 5  # eigenvalues beyond which points overlap; least spectra for quartiles
CROWDED = 150  # medians beyond which their markers are small
FIRST, MOST = 50, 150  # spectra used to find a reference, and to compute medians
SMALL = 0.2  # least share of the unit circle's width for which the whole circle is shown
FAR = 5  # eigenvalues that decay this many times faster than the leak are out of view


class EigenspectrumDisplay:
    """Eigenvalues of RNNs in the complex plane, or as growth rate against frequency.

    Create it with :meth:`from_estimator` or :meth:`from_rnns`.

    Parameters
    ----------
    spectrum : Eigenspectrum
        Result of :func:`~jedi_sklearn.eigenspectrum`.
    conditions : array-like of shape (n_rnns,), optional
        Labels, or values of a continuous quantity, that set the colour of each RNN.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that hold the plot.
    figure_ : matplotlib Figure
        Figure that holds the axes.

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
        """Draw the spectra of the RNNs of trials.

        Parameters
        ----------
        est : JEDIEstimator
            Fitted estimator.
        X : array-like of shape (n_trials, n_timesteps, n_neurons), or Recording
            Activity of the trials, with NaN for missing samples.
        conditions : array-like of shape (n_trials,), optional
            Labels, or values of a continuous quantity, that set the colour of each trial.
            Default: the labels of a recording.
        at : {"origin", "weights", "trajectory", "equivalent"} or array-like, default="origin"
            Where to linearise, as in :func:`~jedi_sklearn.eigenspectrum`.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs; required if, and only if, the model was fitted with inputs.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        EigenspectrumDisplay
            The display, with `ax_` and `figure_` set.
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
            RNNs whose spectra are drawn.
        at : {"origin", "weights", "trajectory", "equivalent"} or array-like, default="origin"
            Where to linearise, as in :func:`~jedi_sklearn.eigenspectrum`. If there are several
            states, as with "trajectory", the eigenvalues at each of them are drawn.
        conditions : array-like of shape (n_rnns,), optional
            Labels, or values of a continuous quantity, that set the colour of each RNN.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        EigenspectrumDisplay
            The display, with `ax_` and `figure_` set.
        """
        return cls(eigenspectrum(rnns, at), conditions).plot(ax=ax, **plot_options)

    def plot(
        self,
        kind="multipliers",
        ax=None,
        *,
        cyclic="auto",
        order=None,
        palette=None,
        conditions_label=None,
        whole_circle="auto",
        medians="auto",
        legend=True,
        scatter_kwargs=None,
    ):
        """Draw the spectra.

        Parameters
        ----------
        kind : {"multipliers", "rates"}, default="multipliers"
            "multipliers" draws the eigenvalues of one time step in the complex plane, with the
            unit circle; those outside it grow. "rates" draws growth rates (1/s) against
            frequencies (Hz), with the line of zero growth; a conjugate pair is one point. In
            "rates", eigenvalues that decay more than five times faster than the leak are out of
            view, and the legend gives their share.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        cyclic : bool, float or "auto", default="auto"
            Whether numeric conditions are angles. A number is their period; True means 2 pi.
            "auto" treats values that divide a circle of 360 or 2 pi evenly as angles.
        order : sequence of labels, optional
            Order in which labels appear in the legend and take their colours. Default: sorted,
            with "s2" before "s10".
        palette : str, mapping or sequence of colours, optional
            "qualitative", "sequential" or "cyclic", the name of a matplotlib colormap, a mapping
            from labels to colours, or a sequence of colours in the order of the labels. Default:
            "qualitative" for labels, "sequential" for other numbers, "cyclic" for angles.
        conditions_label : str, optional
            Title of the legend, or label of the colour bar, such as "frequency (Hz)".
        whole_circle : bool or "auto", default="auto"
            Show the whole unit circle instead of the part near the multipliers. "auto" shows it
            unless the multipliers would take up less than a fifth of its width.
        medians : bool or "auto", default="auto"
            Draw the median and the quartiles of each eigenvalue over the RNNs, or states, of a
            condition; the eigenvalues themselves are faint. Eigenvalues of different RNNs are
            matched by the assignment with the least total distance. "auto" draws medians if there
            are more than 1000 eigenvalues, and conditions are labels or not given.
        legend : bool, default=True
            Draw the legend, and the colour bar if conditions are continuous.
        scatter_kwargs : dict, optional
            Options of ``Axes.scatter`` for the eigenvalues. A colour, or one for each RNN, is
            possible only without conditions. A marker replaces those that distinguish labels of
            the same colour.

        Returns
        -------
        EigenspectrumDisplay
            The display, with `ax_` and `figure_` set.
        """
        check_option(kind, "kind", KINDS)
        for name, choice in (("whole_circle", whole_circle), ("medians", medians)):
            check_option(choice, name, (True, False, "auto"))
        spectra = np.asarray(self.spectrum.multipliers)
        n = len(spectra)
        values = spectra.reshape(n, -1)  # all states of an RNN get the same colour
        rows, columns = np.nonzero(~np.isnan(values))  # NaN after the end of a trial
        values = values[rows, columns]
        how = {"cyclic": cyclic, "order": order, "palette": palette}
        colours, given = colour_points(self.conditions, n, scatter_kwargs, **how)
        n_labels = len(np.unique(colours.codes))
        labelled = colours.mappable is None and len(np.unique(colours.rgba, axis=0)) <= n_labels
        if medians == "auto":
            enough = values.size >= EACH * n_labels * spectra.shape[-1]
            medians = labelled and enough and values.size > MANY
        elif medians and not labelled:
            raise ValueError(
                "medians need conditions that are labels: bin the values of a continuous quantity "
                "into labels, or leave medians out."
            )
        make_figure = ax is None
        ax = make_axes(ax, figsize=(5.8, 4.2))
        size = 14 if values.size < 5000 else 6
        alpha = fade(4 * values.size, 0.015) if medians else fade(values.size)
        options = {"alpha": alpha, "s": size, "zorder": 2, "rasterized": values.size > 5000}
        options |= given
        place = _in_the_plane if kind == "multipliers" else self._as_rates
        draw = self._multipliers if kind == "multipliers" else self._rates
        handles = draw(ax, values, rows, colours, options, whole_circle)
        if medians:
            found = [_matched(spectra[colours.codes == k]) for k in range(n_labels)]
            handles.append(_draw_medians(ax, found, place, colours.of_labels))
        if kind == "multipliers" and make_figure:
            ax.spines[["top", "right"]].set_visible(True)
            ax.set_anchor("W")  # leaves room for the legend
        if legend:
            colours.explain(ax, conditions_label, handles, grow=make_figure)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _mark_leak(self, ax, x):
        style = {"marker": "x", "ms": 7, "color": "black", "markeredgewidth": 1.3}
        ax.plot([x], [0], linestyle="none", gid="leak", zorder=5, **style)
        return handle("leak alone", **style)

    def _multipliers(self, ax, flat, rows, colours, options, whole_circle):
        angle = np.linspace(0, 2 * np.pi, 2001)
        circle = {"color": "0.5", "lw": 1, "linestyle": "-"}
        ax.plot(np.cos(angle), np.sin(angle), **circle, gid="unit circle", zorder=1)
        points = _in_the_plane(flat)
        scatter(ax, points, colours, rows, **options)
        handles = [handle("unit circle", **circle), self._mark_leak(ax, self.spectrum.leak)]
        limits = [robust_range(x) for x in points.T] if len(points) else [(1, 1), (0, 0)]
        x = np.array([*limits[0], self.spectrum.leak, 1])
        y = np.abs(limits[1]).max()
        if whole_circle == "auto":
            whole_circle = max(np.ptp(x), 2 * y) >= 2 * SMALL
        if whole_circle:
            x, y = np.append(x, -1), max(y, 1.0)
        half = 1.12 * max(y, np.ptp(x) / 2)
        centre = (x.min() + x.max()) / 2
        ax.set(xlim=(centre - half, centre + half), ylim=(-half, half))
        n_out = int((np.abs(points - (centre, 0)) > half).any(axis=1).sum())
        if n_out:
            handles.append(note(f"{n_out} of {len(points)} eigenvalues\nfar out of view"))
        ax.set_aspect("equal", adjustable="box")
        label_axes(ax, ("multiplier, real part (per step)", "imaginary part (per step)"))
        return handles

    def _rates(self, ax, values, rows, colours, options, whole_circle):
        dt, rows = self.spectrum.dt, rows[values.imag >= 0]
        points = self._as_rates(values[values.imag >= 0])
        growth, frequency = points.T
        line = {"color": "0.5", "lw": 1, "linestyle": "--"}
        ax.axvline(0, **line, gid="no growth", zorder=1)
        scatter(ax, points, colours, rows, **options)
        leak = float(growth_rates(self.spectrum.leak, dt))
        handles = [handle("no growth", **line), self._mark_leak(ax, leak)]
        limit = FAR * leak
        seen = growth >= limit
        left, right, top = leak, 0.0, 0.0
        if seen.any():
            low, high = robust_range(growth[seen])
            left, right, top = min(low, leak), max(high, 0), robust_range(frequency[seen])[1]
        margin, top = 0.06 * (right - left), top if top > 0 else 1.0
        ax.set(xlim=(left - margin, right + margin), ylim=(-0.06 * top, 1.15 * top))
        if not seen.all():
            share = 100 * (1 - seen.mean())
            handles.append(
                note(f"{share:.2g} % of the eigenvalues\ndecay faster than {-limit:.0f}/s")
            )
        n_out = int((seen & ((growth > right) | (frequency > top))).sum())
        if n_out:
            handles.append(note(f"{n_out} of {len(points)} eigenvalues\nfar out of view"))
        label_axes(ax, ("growth rate (1/s)", "frequency (Hz)"))
        return handles

    def _as_rates(self, values):
        """Convert multipliers (n,) to growth rates (1/s) and frequencies (Hz), (n, 2)."""
        dt = self.spectrum.dt
        return np.stack([growth_rates(values, dt), np.abs(frequencies(values, dt))], axis=1)


def _in_the_plane(values):
    """Convert complex numbers (n,) to coordinates (n, 2)."""
    return np.stack([values.real, values.imag], axis=1)


def _matched(spectra):
    """Reorder spectra (..., rank) so that similar eigenvalues share a column, (n, rank)."""
    spectra = spectra.reshape(-1, spectra.shape[-1])
    spectra = spectra[~np.isnan(spectra).any(axis=1)]
    few = spectra[np.linspace(0, len(spectra) - 1, min(len(spectra), FIRST)).astype(int)]
    reference = few[len(few) // 2]
    for _ in range(2):
        few = _assign(few, reference)
        reference = np.median(few.real, axis=0) + 1j * np.median(few.imag, axis=0)
    most = spectra[np.linspace(0, len(spectra) - 1, min(len(spectra), MOST)).astype(int)]
    return _assign(most, reference)


def _assign(spectra, reference):
    """Match spectra (n, rank) to a reference (rank,) with the least sum of distances."""
    costs = np.abs(reference[:, np.newaxis] - spectra[:, np.newaxis])
    return np.stack([v[linear_sum_assignment(c)[1]] for v, c in zip(spectra, costs, strict=True)])


def _draw_medians(ax, matched, place, colours):
    """Draw medians and quartiles of each label's matched eigenvalues; return a legend handle."""
    crowded = sum(spectra.shape[1] for spectra in matched) > CROWDED
    size, width = (9, 0.6) if crowded else (20, 0.9)
    for k, spectra in enumerate(matched):
        shape = (*spectra.shape, 2)
        points = place(spectra.ravel()).reshape(shape)  # (n, rank, 2)
        with np.errstate(invalid="ignore"):  # multipliers of 0 have a growth rate of -inf
            low, middle, high = np.quantile(points, [0.25, 0.5, 0.75], axis=0)
        style = {"color": colours.rgba[k], "lw": width, "zorder": 3, "gid": "quartiles"}
        ax.hlines(middle[:, 1], low[:, 0], high[:, 0], **style)
        ax.vlines(middle[:, 0], low[:, 1], high[:, 1], **style)
        rows = np.full(len(middle), k)
        scatter(ax, middle, colours, rows, s=size, linewidths=0.4, edgecolors="white", zorder=4)
    style = {"marker": "o", "ms": 4.5, "linestyle": "-", "lw": 0.9, "color": "0.4"}
    return handle("median, quartiles", **style)
