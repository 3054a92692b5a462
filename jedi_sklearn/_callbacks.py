"""What callbacks of scikit-learn (1.9 or later) hear of a fit, and when they stop it."""

from __future__ import annotations

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # an earlier scikit-learn, which has none

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing."""

    def with_callbacks(method):
        """The method as it is."""
        return method


__all__ = ["STATE", "CallbackSupportMixin", "Watch", "watch_fit", "with_callbacks"]

# what callbacks leave on an estimator, which is neither learned nor kept in files
STATE = (
    "_skl_callbacks",
    "_skl_callbacks_to_teardown",
    "_callback_fit_ctx",
    "_parent_callback_ctx",
)


class Watch:
    """Tells the callbacks of an estimator of its fit, and of each gradient step in it.

    Parameters
    ----------
    est : JEDIEstimator
        That has callbacks.
    task : dict
        X, y and metadata of the fit.
    learned : callable
        ``learned(fit)`` are the attributes of the estimator after a fit.
    """

    def __init__(self, est, task, learned):
        self.est, self.task, self.learned = est, task, learned
        self.context = est._init_callback_context(max_subtasks=est.max_iter)
        self.context.call_on_fit_task_begin(estimator=est, **task)
        self.step = None

    def begin(self):
        """A step begins."""
        self.step = self.context.subcontext(task_name="gradient step")
        self.step.call_on_fit_task_begin(estimator=self.est, **self.task)

    def end(self, make=None):
        """A step has ended; whether a callback wants to stop there.

        With `make`, which makes the fit as it stands, callbacks may ask for a fitted estimator.
        """
        learned = None if make is None else lambda: self.learned(make())
        how = {"estimator": self.est, "reconstruction_attributes": learned}
        return self.step.call_on_fit_task_end(**how, **self.task)

    def close(self, fit):
        """The fit is complete."""
        how = {"estimator": self.est, "reconstruction_attributes": lambda: self.learned(fit)}
        self.context.call_on_fit_task_end(**how, **self.task)


def watch_fit(est, X, y, inputs, learned):
    """A `Watch` where the estimator has callbacks, else None."""
    if not getattr(est, "_skl_callbacks", None):
        return None
    metadata = {} if inputs is None else {"inputs": inputs}
    return Watch(est, {"X": X, "y": y, "metadata": metadata}, learned)
