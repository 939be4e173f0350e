"""Let PyPI's torchvision be imported beside a torch without CUDA.

ComfyUI and diffusers import torchvision; its PyPI build expects two operators that only come with
the matching CUDA build of torch. Neither is ever called here, so declaring them is enough.
"""

import torch

_library = torch.library.Library("torchvision", "FRAGMENT")
_SIGNATURES = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def declare_missing_operators() -> None:
    """Declare what is missing; does nothing beside a CUDA build of torch."""
    if torch.version.cuda is not None:
        return
    for name, signature in _SIGNATURES.items():
        if not hasattr(torch.ops.torchvision, name):
            _library.define(name + signature)
