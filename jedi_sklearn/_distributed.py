"""How several processes fit one model together, through torch.distributed.

Every process runs the same fit with the same arguments and reads its own share of the trials.
They exchange sums and rows, so that all end with the same model. A single process exchanges
nothing, and its share is everything.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os

import numpy as np
import torch
from torch import distributed

__all__ = ["ALONE", "Processes", "join"]


class Processes:
    """The processes of a fit, seen from one of them."""

    def __init__(self, rank=0, size=1):
        self.rank, self.size = rank, size

    def slice(self, n):
        """Return the slice of n items of this process; slices are consecutive by rank."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def share(self, things):
        """Return this process's share of a sequence."""
        return things[self.slice(len(things))]

    def sum_(self, *arrays):
        """Replace tensors or arrays with their sums over the processes."""
        if self.size == 1:
            return
        tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arrays]
        flat = _exchangeable(torch.cat([t.flatten() for t in tensors]))
        distributed.all_reduce(flat)
        for t, total in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            t.copy_(total.view_as(t))

    def total(self, number):
        """Sum a number over the processes."""
        if self.size == 1:
            return number
        value = _exchangeable(torch.tensor(float(number), dtype=torch.float64))
        distributed.all_reduce(value)
        return float(value)

    def gather(self, things):
        """Join the lists of all processes, in the order of ranks."""
        if self.size == 1:
            return things
        lists = [None] * self.size
        distributed.all_gather_object(lists, things)
        return [thing for each in lists for thing in each]

    def agree(self, value):
        """Return the value of the first process."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    @contextlib.contextmanager
    def together(self):
        """Raise an error of one process in all, so that the others do not wait for it."""
        mine = None
        try:
            yield
        except Exception as error:
            mine = error
        told = self.gather([None if mine is None else (type(mine), str(mine))])
        if mine is not None:
            raise mine
        for kind, text in filter(None, told):
            try:
                theirs = kind(text)
            except TypeError:  # it needs more than a message
                theirs = RuntimeError(f"{kind.__name__}: {text}")
            raise theirs


ALONE = Processes()


def join(wanted):
    """Return the processes of the fit: a single one, unless `wanted`.

    If there is no process group yet, this creates the one that ``torchrun`` describes.
    """
    if not wanted:
        return ALONE
    if not distributed.is_available():
        raise RuntimeError(
            "distributed=True needs torch.distributed, but this build of torch lacks it. Use "
            "distributed=False."
        )
    if not distributed.is_initialized():
        if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            raise RuntimeError(
                "distributed=True, but there is only this process. Start the script with "
                "torchrun, e.g. torchrun --nproc-per-node 2 script.py, or use distributed=False."
            )
        # torch.optim imports it; a group created before that never ends its threads, which abort
        importlib.import_module("torch._dynamo")
        cuda = torch.cuda.is_available()
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
        atexit.register(_leave)
    return Processes(distributed.get_rank(), distributed.get_world_size())


def _exchangeable(tensor):
    """Move a tensor to where the processes can exchange it: to the GPU if NCCL is alone."""
    if tensor.device.type == "cpu" and "cpu:" not in distributed.get_backend_config():
        return tensor.cuda()
    return tensor


def _leave():
    if distributed.is_initialized():
        distributed.destroy_process_group()
