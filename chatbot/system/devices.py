"""Devices: which one computes, in which precision, and how values of the host come to it."""

import os

import torch
from torch import Tensor

from .errors import ChatbotError, first_line


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
        raise ChatbotError(f"no device {name!r} here: {first_line(error)}; try --device cpu") from error
    return device


def pick_precision(name: str, device: torch.device) -> str:
    """`auto` is `bf16` where the device multiplies it natively (AMX, AVX512-BF16, recent GPUs), else `fp32`."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    asked = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("amx_tile", "avx512_bf16")]
    multiplies = torch.backends.mkldnn.is_available() and any(has and has() for has in asked)
    return "bf16" if device.type == "cpu" and multiplies else "fp32"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether it says that a device, or the host, has no memory left."""
    return "out of memory" in str(error) or "can't allocate memory" in str(error)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Values of the host on a device. An ordinary copy would wait for all that a GPU has still to do.

    The values may be forgotten at once: torch keeps pinned memory until it is copied. Copies to `mps` wait, for there
    torch has let memory go that was still to be read.
    """
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=device.type != "mps")
