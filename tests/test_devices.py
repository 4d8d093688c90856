"""Which device computes, in which precision, and that nothing waits for it or is lost on the way to it."""

from unittest.mock import Mock

import pytest
import torch

from chatbot.system.devices import pick_device, pick_precision, sent
from chatbot.system.errors import ChatbotError

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))


def test_auto_never_takes_a_device_that_nobody_tried_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is one here")
def test_a_device_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ChatbotError, match=r"no device 'mps' here.*--device cpu"):
        pick_device("mps")


@pytest.mark.parametrize("amx", [False, True])
@pytest.mark.parametrize("avx512", [False, True])
def test_auto_is_bfloat16_where_the_processor_multiplies_it(
    amx: bool, avx512: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert pick_precision("auto", CPU) == ("bf16" if amx or avx512 else "fp32")
    assert pick_precision("auto", MPS) == "fp32"
    assert pick_precision("fp32", CPU) == "fp32"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert pick_precision("auto", CPU) == "fp32"


@pytest.mark.parametrize("native", [False, True])
def test_auto_is_bfloat16_on_a_gpu_that_does_not_emulate_it(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert pick_precision("auto", CUDA) == ("bf16" if native else "fp32")


def test_what_is_sent_to_a_gpu_is_pinned_and_not_waited_for() -> None:
    values = Mock()
    assert sent(values, CUDA) is values.pin_memory.return_value.to.return_value
    values.pin_memory.return_value.to.assert_called_once_with(CUDA, non_blocking=True)


def test_what_is_sent_to_mps_is_there_before_it_can_be_forgotten() -> None:
    values = Mock()
    assert sent(values, MPS) is values.to.return_value
    values.to.assert_called_once_with(MPS, non_blocking=False)


def test_what_is_sent_to_the_cpu_is_there_already() -> None:
    values = torch.arange(3)
    assert sent(values, CPU) is values
