"""One process or many: the only torch.distributed. Started by torchrun, which names the ranks in the environment."""

import os
import resource
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .errors import ChatbotError
from .metrics import TokenSums


class Group:
    """The processes that train together; alone, every call is the identity.

    Attributes:
        rank: this process's number, from 0. size: how many there are. is_writer: whether this one writes files.
        device: where this process computes.
    """

    def __init__(self, device: torch.device | str = "cpu", rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = torch.device(device), rank, size
        self.is_writer = rank == 0

    @classmethod
    def join(cls, device: torch.device) -> "Group":
        """The group that torchrun's environment variables describe; without them, this process alone."""
        size = int(os.environ.get("WORLD_SIZE", 1))
        if size > 1:
            # the first process may prepare a large corpus while the others wait
            # numbers of the host go over gloo, so that no GPU is waited for
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=timedelta(hours=12))
        return cls(device, int(os.environ["RANK"]) if size > 1 else 0, size)

    def close(self) -> None:
        """Leave the group; call it once, at the end."""
        if self.size > 1:
            dist.destroy_process_group()

    def share(self, items: Any) -> Any:
        """This process's part of a sequence or an array: every size-th, from rank on."""
        return items[self.rank :: self.size]

    def wait(self) -> None:
        """Return when every process has come here."""
        self.sum([0.0])

    def sum(self, values: Iterable[float]) -> list[float]:
        """Element-wise sums over the processes, in double precision."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def sum_tokens(self, sums: TokenSums) -> TokenSums:
        """An evaluation's sums over the processes."""
        return TokenSums(*self.sum(sums))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up each parameter's gradient over the processes, in one message; a missing one counts as zero."""
        if self.size == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        parts: Iterable[Tensor] = flat.split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)


def pick_device(name: str) -> torch.device:
    """`auto` is this process's CUDA device if there is one, else the CPU; any other name is taken as it is.

    Raises:
        ChatbotError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ChatbotError(f"no device {name!r} here: {str(error).splitlines()[0]}; try --device cpu") from error
    return device


def peak_memory(device: torch.device) -> int:
    """The most memory in bytes that was in use at once: on a GPU what torch held there, else what the process held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def pick_precision(name: str, device: torch.device) -> str:
    """`auto` is `bf16` where the device multiplies it natively (AMX, AVX512-BF16, recent GPUs), else `fp32`."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and torch.backends.mkldnn.is_available() and _multiplies_bf16() else "fp32"


def _multiplies_bf16() -> bool:
    has_amx, has_avx512 = (
        getattr(torch.cpu, name, lambda: False) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    return has_amx() or has_avx512()
