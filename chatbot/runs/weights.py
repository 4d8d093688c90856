"""Tensors of a file, looked at before anything computes with them: their kind, form and size, and that they are finite.

Kernels in native code compare little: a moment of the optimiser that is smaller than its parameter is read and written
past its end.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..config.settings import ModelConfig
from ..network.model import Seq2Seq
from ..system.errors import ChatbotError, shown

MOST_COUNTED = 1 << 24  # a float counts no further by ones


def check_state(state: Any, name: str) -> None:
    """Whether something loaded is a state dict whose tensors, all together, are as large in the file as they say.

    Raises:
        ChatbotError: it is something else, or holds it: an expanded tensor, say, is of any size without a file of that
            size, and so are many that share their numbers. The message calls it `name`.
    """
    if not isinstance(state, dict):
        raise ChatbotError(f"its {name} is {shown(state)} and no state dict")
    there, asked = dict[int, int](), dict[tuple[int, torch.Size], int]()
    for key, weight in state.items():
        tensors = list(weight.values()) if isinstance(weight, dict) else [weight]  # a matrix in bytes is a dict
        if type(key) is not str or not all(isinstance(tensor, Tensor) for tensor in tensors):
            raise ChatbotError(f"its {name} holds something that is no weight")
        for tensor in tensors:
            if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.is_contiguous():
                raise ChatbotError(f"its {name} has {shown(key)} in a form that weights do not have")
            storage = tensor.untyped_storage()
            there[storage.data_ptr()] = storage.nbytes()
            asked[tensor.data_ptr(), tensor.shape] = tensor.nbytes  # a tied embedding has two names
    if sum(asked.values()) > sum(there.values()):
        raise ChatbotError(f"its {name} has matrices that share their numbers")


def check_tensor(tensor: Any, like: Tensor, name: str) -> None:
    """Whether a tensor of a file may stand where `like` does: of its shape and dtype, dense, on the CPU, all finite.

    Raises:
        ChatbotError: it may not; the message calls it `name`.
    """
    if not isinstance(tensor, Tensor):
        raise ChatbotError(f"{name} is {shown(tensor)} and no tensor")
    if tensor.shape != like.shape or tensor.dtype != like.dtype:
        wanted = f"{tuple(like.shape)} {like.dtype}"
        raise ChatbotError(f"{name} is {tuple(tensor.shape)} {tensor.dtype} and should be {wanted}")
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise ChatbotError(f"{name} is in a form that it should not have")
    # NaN is the least and the largest of what it is among; `isfinite` would make three tensors more
    if tensor.numel() and tensor.is_floating_point() and not bool(torch.stack(tensor.aminmax()).isfinite().all()):
        raise ChatbotError(f"{name} has values that are not finite")


def check_network(weights: Any, config: ModelConfig, words: int, name: str) -> None:
    """Whether weights are those of a network with these settings over so many words, each as `check_tensor` says.

    Raises:
        ChatbotError: they are not; the message calls them `name`.
    """
    if not isinstance(weights, dict):
        raise ChatbotError(f"{name} are {shown(weights)} and no state dict")
    with torch.device("meta"):  # shapes only: nothing is allocated because a number in a file says so
        wanted = Seq2Seq(config, words).state_dict()
    if missing := wanted.keys() - weights.keys():
        raise ChatbotError(f"{name} do not fit the settings: {min(missing)} is missing")
    if further := weights.keys() - wanted.keys():
        raise ChatbotError(f"{name} do not fit the settings: it has {shown(min(further))} besides")
    for key, like in wanted.items():
        try:
            check_tensor(weights[key], like, key)
        except ChatbotError as error:
            raise ChatbotError(f"{name} do not fit the settings: {error}") from error


def check_moments(
    states: Mapping[int, Mapping[str, Any]], parameters: Sequence[Tensor], names: tuple[str, ...], step: int
) -> dict[int, dict[str, Any]]:
    """What an optimiser remembers of each parameter, looked at, and copied, for in a file tensors may share numbers.

    Args:
        states: by the parameters' numbers.
        parameters: those that there are.
        names: of the moments, each as large as its parameter. Besides there is `step`, a count.
        step: how many updates there were; before the first one there are no moments.

    Raises:
        ChatbotError: it is something else.
    """
    if states.keys() != set(range(len(parameters) if step else 0)):
        raise ChatbotError("its optimiser is of other parameters than the network's")
    count, copies = torch.zeros(()), dict[int, dict[str, Any]]()
    for number, state in states.items():
        if state.keys() != {"step", *names}:
            raise ChatbotError(f"its optimiser remembers something else than {', '.join(names)} of parameter {number}")
        for name, tensor in state.items():
            check_tensor(tensor, count if name == "step" else parameters[number], f"its optimiser's {name}")
            if not tensor.is_contiguous():
                raise ChatbotError(f"its optimiser's {name} is in a form that it should not have")
            if name != "exp_avg" and bool((tensor < 0).any()):
                raise ChatbotError(f"its optimiser's {name} is below zero")
        if int(state["step"]) != min(step, MOST_COUNTED):
            raise ChatbotError(f"its optimiser counts {int(state['step'])} updates and should count {step}")
        copies[number] = {name: tensor.clone() for name, tensor in state.items()}
    return copies
