"""How callbacks of scikit-learn (1.9 or later) follow a fit, and how they stop it."""

from __future__ import annotations

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Placeholder without callbacks."""

    def with_callbacks(method):
        """Return the method unchanged."""
        return method


__all__ = ["STATE", "CallbackSupportMixin", "Watch", "watch_fit", "with_callbacks"]

# attributes that callbacks set on an estimator; they are neither learned nor saved to files
STATE = (
    "_skl_callbacks",
    "_skl_callbacks_to_teardown",
    "_callback_fit_ctx",
    "_parent_callback_ctx",
)


class Watch:
    """Notifier of an estimator's callbacks: of the fit, and of each gradient step.

    Parameters
    ----------
    est : JEDIEstimator
        Estimator with callbacks.
    task : dict
        X, y and metadata of the fit.
    learned : callable
        ``learned(fit)`` returns the attributes of the estimator after a fit.
    """

    def __init__(self, est, task, learned):
        self.est, self.task, self.learned = est, task, learned
        self.context = est._init_callback_context(max_subtasks=est.max_iter)
        self.context.call_on_fit_task_begin(estimator=est, **task)
        self.step = None

    def begin(self):
        """Announce the beginning of a step."""
        self.step = self.context.subcontext(task_name="gradient step")
        self.step.call_on_fit_task_begin(estimator=self.est, **self.task)

    def end(self, make=None):
        """Announce the end of a step; return whether a callback wants to stop.

        With `make`, which completes the fit in its current state, callbacks may ask for a fitted
        estimator.
        """
        learned = None if make is None else lambda: self.learned(make())
        how = {"estimator": self.est, "reconstruction_attributes": learned}
        return self.step.call_on_fit_task_end(**how, **self.task)

    def close(self, fit):
        """Announce the end of the fit."""
        how = {"estimator": self.est, "reconstruction_attributes": lambda: self.learned(fit)}
        self.context.call_on_fit_task_end(**how, **self.task)


def watch_fit(est, X, y, inputs, learned):
    """Return a `Watch` if the estimator has callbacks, else None."""
    if not getattr(est, "_skl_callbacks", None):
        return None
    metadata = {} if inputs is None else {"inputs": inputs}
    return Watch(est, {"X": X, "y": y, "metadata": metadata}, learned)
