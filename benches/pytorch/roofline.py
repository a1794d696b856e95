"""What a machine can do at most, and what a piece of work asks of it."""

import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

SIDE = 2048
COPIED_MIB = 256
SECONDS = 2.0


def limits(device):
    """Operations per second of a large matrix product, and bytes per second of a large copy, in full single precision:
    the best of what two seconds show."""
    left, right = (torch.randn(SIDE, SIDE, device=device) for _ in range(2))
    source = torch.zeros(COPIED_MIB * 2**18, device=device)
    target = torch.empty_like(source)
    product = best(lambda: torch.mm(left, right), device)
    copied = best(lambda: target.copy_(source), device)
    return {"side": SIDE, "flops": 2 * SIDE**3 / product, "bytes": 2 * COPIED_MIB * 2**20 / copied}


def best(work, device):
    """Seconds of the fastest repetition."""
    found, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found = min(found, time.perf_counter() - begin)
    return found


def asked(work):
    """Operations of the products and convolutions of `work`, a multiplication and an addition being two, and the bytes that
    PyTorch's operations read and write one by one."""
    with FlopCounterMode(display=False) as counter, Traffic() as traffic:
        work()
    return {"flops": counter.get_total_flops(), "bytes": traffic.bytes}


class Traffic(TorchDispatchMode):
    """Counts the bytes of all tensors that operations take and give."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        result = operation(*arguments, **(keywords or {}))
        aliases = [returned.alias_info for returned in operation._schema.returns]
        # A view moves nothing.
        if not any(alias is not None and not alias.is_write for alias in aliases):
            leaves = tree_leaves((arguments, keywords, result))
            tensors = {id(leaf): leaf for leaf in leaves if isinstance(leaf, torch.Tensor)}
            self.bytes += sum(leaf.numel() * leaf.element_size() for leaf in tensors.values())
        return result
