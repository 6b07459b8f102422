import pytest
import torch

from tool.device import set_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def numerics():
    """Leave the process as it was."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize(
    "precision, device, dtype, tf32",
    [
        ("float32", CUDA, None, False),
        ("tf32", CUDA, None, True),
        ("bfloat16", CUDA, torch.bfloat16, False),
        ("float16", CPU, torch.float16, False),
        ("auto", CPU, None, False),
    ],
)
def test_precision_sets_autocast_and_tf32_together(precision, device, dtype, tf32):
    torch.backends.cudnn.allow_tf32 = not tf32
    assert set_precision(precision, device) is dtype
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")


@pytest.mark.parametrize("has_bfloat16, dtype", [(True, torch.bfloat16), (False, torch.float16)])
def test_auto_takes_what_the_gpu_has(monkeypatch, has_bfloat16, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert set_precision("auto", CUDA) is dtype
