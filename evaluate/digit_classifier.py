"""A small fixed digit classifier, whose features serve to compare sets of digits.

`python -m comfyui_unconditional.evaluate.digit_classifier` trains it again, with the same result,
and prints its accuracy.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).parent / "digits.safetensors"
_HELD_OUT, _EPOCHS, _BATCH = 360, 40, 64


class Classifier(nn.Module):
    """Two convolutions, 32 features, 10 classes."""

    scale: Tensor
    """The root of the features' mean variance over real digits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv_2 = nn.Conv2d(16, 32, 3, padding=1)
        self.to_features = nn.Linear(32 * 4 * 4, 32)
        self.to_classes = nn.Linear(32, 10)
        self.register_buffer("scale", torch.tensor(1.0, dtype=torch.float64))

    def features(self, images: Tensor) -> Tensor:
        """Return the features of images in -1..1: (n, 1, 16, 16) -> (n, 32)."""
        x = F.max_pool2d(F.relu(self.conv_1(images)), 2)
        x = F.max_pool2d(F.relu(self.conv_2(x)), 2)
        return self.to_features(x.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the ten digits, shape (n, 10)."""
        return self.to_classes(F.relu(self.features(images)))


def load_classifier() -> Classifier:
    """Return the committed classifier."""
    model = Classifier().eval()
    model.load_state_dict(load_file(WEIGHTS))
    return model


def train(images: Tensor, labels: Tensor) -> Classifier:
    """Train on digits that are shifted by up to one pixel; deterministic."""
    torch.manual_seed(0)
    model, g = Classifier(), torch.Generator().manual_seed(1)
    steps = len(images) // _BATCH
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _EPOCHS * steps)
    for _ in range(_EPOCHS):
        order = torch.randperm(len(images), generator=g)
        for batch in order.split(_BATCH)[:steps]:
            rows, columns = torch.randint(-1, 2, (2,), generator=g).tolist()
            shifted = images[batch].roll((rows, columns), dims=(2, 3))
            loss = F.cross_entropy(model(shifted), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
    return model.eval()


def main() -> None:
    """Train on four fifths of the digits, write the weights, and print the accuracy on the rest."""
    from ..models.digits import digits
    from ..models.judge import as_saved

    torch.set_num_threads(1)  # to sum in the same order everywhere
    images, labels = digits()
    images = as_saved(images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    held_out, learned = order[:_HELD_OUT], order[_HELD_OUT:]
    model = train(images[learned], labels[learned])
    with torch.inference_mode():
        right = (model(images[held_out]).argmax(1) == labels[held_out]).double().mean()
        model.scale.copy_(model.features(images).double().var(0).mean().sqrt())
    save_file(model.state_dict(), WEIGHTS)
    print(f"{right:.2%} accuracy on {_HELD_OUT} held-out digits")


if __name__ == "__main__":
    main()
