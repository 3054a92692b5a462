"""Several processes that fit one model together, through torch.distributed.

Every process runs the same fit with the same arguments and reads its own share of the trials;
sums and rows are exchanged, so that all of them end with the same model. Alone, nothing is
exchanged and a share is everything.
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
        """Which of n things fall to this process: consecutive ones, in the order of ranks."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def share(self, things):
        """Those of a sequence that fall to this process."""
        return things[self.slice(len(things))]

    def sum_(self, *arrays):
        """Replace tensors or arrays by their sums over the processes."""
        if self.size == 1:
            return
        tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arrays]
        flat = _exchangeable(torch.cat([t.flatten() for t in tensors]))
        distributed.all_reduce(flat)
        for t, total in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            t.copy_(total.view_as(t))

    def total(self, number):
        """Sum of a number over the processes."""
        if self.size == 1:
            return number
        value = _exchangeable(torch.tensor(float(number), dtype=torch.float64))
        distributed.all_reduce(value)
        return float(value)

    def gather(self, things):
        """The lists of all processes, one after the other."""
        if self.size == 1:
            return things
        lists = [None] * self.size
        distributed.all_gather_object(lists, things)
        return [thing for each in lists for thing in each]

    def agree(self, value):
        """What the first process has."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    @contextlib.contextmanager
    def together(self):
        """Raise in all processes what is raised in one, lest the others wait for it."""
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
            except TypeError:  # wants more than a text
                theirs = RuntimeError(f"{kind.__name__}: {text}")
            raise theirs


ALONE = Processes()


def join(wanted):
    """The processes of the fit: alone, unless others are wanted.

    Where there is no process group yet, the one that ``torchrun`` describes is made.
    """
    if not wanted:
        return ALONE
    if not distributed.is_available():
        raise RuntimeError("distributed=True, but this torch was built without torch.distributed.")
    if not distributed.is_initialized():
        if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            raise RuntimeError(
                "distributed=True, but there is only this process. Start the script with "
                "torchrun, e.g. torchrun --nproc-per-node 2 script.py, or use distributed=False."
            )
        # torch.optim imports it, and a group older than that does not end its threads: they abort
        importlib.import_module("torch._dynamo")
        cuda = torch.cuda.is_available()
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
        atexit.register(_leave)
    return Processes(distributed.get_rank(), distributed.get_world_size())


def _exchangeable(tensor):
    """A tensor where the processes can exchange it: with NCCL alone, on the GPU."""
    if tensor.device.type == "cpu" and "cpu:" not in distributed.get_backend_config():
        return tensor.cuda()
    return tensor


def _leave():
    if distributed.is_initialized():
        distributed.destroy_process_group()
