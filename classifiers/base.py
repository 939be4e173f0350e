"""The base of all classifiers."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ..schedulers.errors import UserError


class Classifier(nn.Module, ABC):
    """Recognises the classes of images.

    Attributes:
        channels: of the images.
        size: height and width of the images, in pixels.
        classes: their number.
        names: of the classes; empty if the file does not have them.
        sees_noise: whether it was trained on x_t with its timestep, instead of images.
    """

    channels: int
    size: tuple[int, int]
    classes: int
    names: tuple[str, ...] = ()
    sees_noise: bool = False

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """Return the logits of the classes, shape (B, classes).

        Args:
            x: images in -1..1, or x_t, shape (B, C, H, W).
            t: timesteps, shape (B,), if it sees noise.
        """

    def name_of(self, index: int) -> str:
        """Return the name of a class, or its number if it has none."""
        return self.names[index] if self.names else str(index)

    def check_class(self, index: int) -> None:
        """Raise ``UserError`` unless there is a class with this number, counted from 0."""
        if 0 <= index < self.classes:
            return
        listed = ", ".join(f"{k} ({name})" for k, name in enumerate(self.names[:20]))
        raise UserError(
            f"class_number must be 0 to {self.classes - 1} for this classifier, not {index}."
            + (f" Its classes are {listed}{', …' if self.classes > 20 else ''}." if listed else "")
        )
