"""A small fixed digit classifier, whose features are used for distances between sets of images.

`python -m benchmarks.quality.features` trains it again, with the same result, and prints its
accuracy.
"""

from pathlib import Path

import torch
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.models.judge import as_saved
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 32
WEIGHTS = Path(__file__).parent / "features.safetensors"
_HELD_OUT = 360
_EPOCHS = 40
_BATCH = 64


class Classifier(nn.Module):
    """Two convolutions, 32 features, 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv_2 = nn.Conv2d(16, 32, 3, padding=1)
        self.to_features = nn.Linear(32 * 4 * 4, FEATURES)
        self.to_classes = nn.Linear(FEATURES, 10)

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


def split() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return (images, labels) for training and for testing; always the same split."""
    images, labels = digits()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = as_saved(images)[order], labels[order]
    return (images[_HELD_OUT:], labels[_HELD_OUT:]), (images[:_HELD_OUT], labels[:_HELD_OUT])


def train() -> Classifier:
    """Train on four fifths of the digits, shifted by up to one pixel; deterministic."""
    (images, labels), _ = split()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Classifier()
    g = torch.Generator().manual_seed(1)
    steps = _EPOCHS * (len(images) // _BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(_EPOCHS):
        order = torch.randperm(len(images), generator=g)
        for batch in order.split(_BATCH)[: len(images) // _BATCH]:
            rows, columns = torch.randint(-1, 2, (2,), generator=g).tolist()
            shifted = images[batch].roll((rows, columns), dims=(2, 3))
            loss = F.cross_entropy(model(shifted), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
    return model.eval()


@torch.inference_mode()
def accuracy(model: Classifier) -> float:
    """Return the share of the held-out digits that are classified correctly."""
    _, (images, labels) = split()
    return (model(images).argmax(1) == labels).double().mean().item()


def main() -> None:
    """Train, write the weights, and print the accuracy."""
    torch.set_num_threads(1)  # to sum in the same order everywhere
    model = train()
    save_file(model.state_dict(), WEIGHTS)
    print(f"{accuracy(model):.2%} accuracy on {_HELD_OUT} held-out digits")


if __name__ == "__main__":
    main()
