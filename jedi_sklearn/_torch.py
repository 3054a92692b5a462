"""How the package uses torch: device, memory, threads and random numbers; what it ignores."""

from __future__ import annotations

import contextlib
import functools
import os
import threading

import joblib
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from ._validation import check_seed, did_you_mean, warn_user

__all__ = [
    "as_tensor",
    "in_parallel",
    "isolated",
    "make_generator",
    "resolve_device",
    "temporary_bytes",
]

TEMPORARIES = 32  # number of large temporaries that must fit into the free memory of a GPU

_forked = False  # True in a forked process until it is limited to one thread


def isolated(function):
    """Make a function ignore the modes and the default device of torch.

    Gradient mode, inference mode, automatic precision and the default device belong to the
    thread, and are restored when the function returns. The default dtype belongs to all threads,
    so the function must name the dtype of every tensor that it makes.
    """

    @functools.wraps(function)
    def run(*args, **kwargs):
        _use_one_thread_in_a_fork()
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            if torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
            return function(*args, **kwargs)

    return run


def _note_fork():
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def _use_one_thread_in_a_fork():
    """Keep a forked process from waiting for OpenMP threads, which only its parent has.

    Whether the parent had started any is unknown. A process limited to one thread needs none.
    """
    global _forked
    if not _forked:
        return
    _forked = False
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="openmp")  # for scikit-learn as well
    if n_threads > 1:
        warn_user(
            f"This process was forked and will use 1 thread instead of {n_threads}. After a fork, "
            "as by multiprocessing.Pool on Linux, it could wait forever for threads that only its "
            'parent has. Start processes with multiprocessing.get_context("spawn") or with joblib '
            "(loky, its default), or call torch.set_num_threads(1) in each of them."
        )


def resolve_device(device):
    """Return the torch.device for the `device` parameter; "auto" is CUDA if available.

    If there are several GPUs, "auto" takes the one that ``torchrun`` assigned to this process.
    """
    if device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        local = int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()
        return torch.device("cuda", local)
    try:
        resolved = torch.device(device)
        if resolved.type == "cuda":
            if torch.cuda.is_available() and (resolved.index or 0) >= torch.cuda.device_count():
                raise ValueError(f"There is no CUDA device number {resolved.index}.")
        else:
            torch.zeros(1, dtype=torch.float64, device=resolved).item()
    except Exception as error:  # the backends of torch raise errors of many kinds
        likely = device.lower().replace("gpu", "cuda") if isinstance(device, str) else device
        raise ValueError(
            f'device must be "auto", "cpu", "cuda" or another torch device that works here in '
            f"double precision (this machine has {', '.join(_devices())}), got "
            f"{device!r}{did_you_mean(likely, ['auto', 'cpu', 'cuda'])}"
        ) from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was requested, but torch finds no CUDA device here. "
            'Use device="auto" or device="cpu", e.g. est.set_params(device="cpu").'
        )
    return resolved


def _devices():
    """List the devices of this machine that support double precision."""
    names = ["cpu"]
    for kind, module in (("cuda", torch.cuda), ("xpu", torch.xpu)):
        if module.is_available():
            names += [f"{kind}:{i}" for i in range(module.device_count())]
    return names


def in_parallel(function, calls, n_calls, device, n_jobs=None):
    """Compute [function(*arguments) for arguments in calls] with joblib.

    Without `n_jobs`, and outside joblib, the threads of torch on the CPU share the calls if there
    is at least one for each: this is faster than several threads per call.
    """
    n_threads = torch.get_num_threads()
    alone = device.type != "cpu" or threading.current_thread() is not threading.main_thread()
    alone |= n_threads == 1 or n_calls < n_threads
    calls = (joblib.delayed(function)(*arguments) for arguments in calls)
    if alone or n_jobs is not None or joblib.effective_n_jobs(None) > 1:
        return joblib.Parallel(n_jobs=n_jobs)(calls)
    how = {"n_jobs": n_threads, "backend": "threading", "pre_dispatch": n_threads}
    try:
        torch.set_num_threads(1)  # applies to each thread that starts now
        return joblib.Parallel(**how)(calls)
    finally:
        torch.set_num_threads(n_threads)


def temporary_bytes(device, on_cpu):
    """Limit the size of one large temporary; on a GPU, to a share of its free memory.

    On the CPU, small arrays are faster because they stay in the cache.
    """
    if device.type != "cuda":
        return on_cpu
    return torch.cuda.mem_get_info(device)[0] / TEMPORARIES


def as_tensor(array):
    """Make a tensor that shares the memory of an array, or copies a read-only array."""
    return torch.as_tensor(array if array.flags.writeable else array.copy())


def make_generator(random_state):
    """Make a torch.Generator (CPU) seeded by a scikit-learn random_state."""
    seed = check_seed(random_state).randint(np.iinfo(np.int32).max)
    return torch.Generator().manual_seed(int(seed))
