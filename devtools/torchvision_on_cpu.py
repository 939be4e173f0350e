"""Make PyPI's torchvision importable with a torch without CUDA.

ComfyUI and diffusers import torchvision, whose PyPI build expects two operators that only the
matching CUDA build of torch has. Neither is called here, so declaring them is enough.
"""

import torch

_library = torch.library.Library("torchvision", "FRAGMENT")
_SIGNATURES = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def declare_missing_operators() -> None:
    """Declare the missing operators; does nothing with a CUDA build of torch."""
    if torch.version.cuda is not None:
        return
    for name, signature in _SIGNATURES.items():
        if not hasattr(torch.ops.torchvision, name):
            _library.define(name + signature)
