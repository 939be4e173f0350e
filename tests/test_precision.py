"""Requirements for a device: float64 if available, and float32 without TF32."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from comfyui_unconditional.host.precision import computes_float64, exact_float32
from torch import Tensor

matmul: Any = torch.backends.cuda.matmul
cudnn: Any = torch.backends.cudnn


def test_a_cpu_computes_float64():
    computes_float64.cache_clear()
    assert computes_float64(torch.device("cpu"))


def raises(error: Exception) -> Callable[..., Tensor]:
    def ones(*_: Any, **__: Any) -> Tensor:
        raise error

    return ones


@pytest.mark.parametrize(
    "ones",
    [
        raises(TypeError("Cannot convert a MPS Tensor to float64 dtype")),
        raises(RuntimeError("Required aspect fp64 is not supported on the device")),
        raises(NotImplementedError("The GPU device does not support Double operations!")),
        lambda *_, **__: torch.tensor(1.0),
    ],
    ids=["Apple", "Intel", "DirectML", "rounds"],
)
def test_a_device_that_raises_or_rounds_does_not_support_float64(ones, monkeypatch):
    computes_float64.cache_clear()
    monkeypatch.setattr(torch, "ones", ones)
    assert not computes_float64(torch.device("cpu"))
    computes_float64.cache_clear()


def read(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except RuntimeError:
        return "raises"


def state() -> tuple[Any, ...]:
    owners = [(matmul, "allow_tf32"), (cudnn, "allow_tf32"), (matmul, "fp32_precision")]
    owners += [(cudnn.conv, "fp32_precision"), (cudnn.rnn, "fp32_precision")]
    return tuple(read(owner, name) for owner, name in owners)


@pytest.fixture
def restored() -> Iterator[None]:
    yield
    torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    matmul.allow_tf32, cudnn.allow_tf32 = False, True
    matmul.fp32_precision = "none"
    cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "tf32"


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    "prepare",
    [
        lambda: None,
        lambda: setattr(torch.backends, "fp32_precision", "tf32"),
        lambda: setattr(matmul, "fp32_precision", "tf32"),
        lambda: setattr(cudnn.conv, "fp32_precision", "ieee"),
        lambda: setattr(matmul, "allow_tf32", True),  # the older way
        lambda: torch.set_float32_matmul_precision("high"),
    ],
    ids=["nothing", "everything", "products", "not convolutions", "older way", "rounded products"],
)
def test_a_run_computes_without_tf32_and_leaves_the_settings_as_they_were(prepare):
    prepare()
    before = state()
    with exact_float32():
        inside = state()
        assert inside[2:4] == ("ieee", "ieee")
        # Other code, for example torch.compile, may still use the older API wherever it could
        # before.
        for value, old in zip(inside[:2], before[:2], strict=True):
            assert value is False or old == "raises"
    assert state() == before
    with pytest.raises(ZeroDivisionError), exact_float32():
        1 / 0  # noqa: B018
    assert state() == before
