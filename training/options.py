"""Training options: every choice that changes the weights, and how often they are saved."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ..schedulers.errors import UserError
from ..schedulers.randomness import SEEDS

Precision = Literal["float32", "bfloat16"]
Decay = Literal["constant", "cosine"]


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Raises:
        UserError: a number is out of its range.
    """

    steps: int = 12_000
    batch_size: int = 64
    """Pictures per step."""
    micro_batches: int = 1
    """Parts of a step's batch that are computed one after another, or by several processes."""
    learning_rate: float = 1e-3
    """AdamW's learning rate after the warm-up."""
    warmup_steps: int = 100
    decay: Decay = "constant"
    """The decay of the learning rate after the warm-up. "cosine" falls to 0 at the last step, so a
    run with more steps is a different run."""
    gradient_clip: float = 1.0
    """The largest norm of the gradients of a step."""
    average_gamma: float = 6.94
    """The exponent of the averaged weights' power function (Karras et al. 2024, "Analyzing and
    Improving the Training Dynamics of Diffusion Models", section 3): step i is averaged in with a
    share of 1 - (1 - 1/i)^(gamma + 1), so the average always spans the same part of the run: a
    tenth for 6.94."""
    augment: float = 0.0
    """Probability of each augmentation; they do not show in the images, see ``augmentation``."""
    dropout: float = 0.0
    """Dropout during training; the saved model has none."""
    min_snr: float | None = None
    """The bound gamma of min-SNR weighting (Hang et al. 2023, section 3.4); None: none."""
    flip: bool = False
    """Mirror half of the pictures, at random."""
    rotate: bool = False
    """Turn square pictures by a random number of quarter turns."""
    precision: Precision = "float32"
    """Precision of the network's layers; weights and averages are always float32."""
    checkpointing: bool = False
    """Compute the layers' outputs again for the gradients: slower, with much less memory."""
    compile: bool = False
    """Compile the network first, which takes a minute, for faster steps on a GPU."""
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "micro_batches", "save_every"):
            value = getattr(self, name)
            if value < 1:
                raise UserError(f"{name} must be at least 1, not {value}.")
        if self.batch_size % self.micro_batches:
            raise UserError(
                f"A batch of {self.batch_size} pictures cannot be divided into "
                f"{self.micro_batches} equal parts. Choose a multiple."
            )
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"The learning rate must be above 0, not {self.learning_rate:g}.")
        for name in ("augment", "dropout"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise UserError(f"{name} must be from 0 to below 1, not {value:g}.")
        if self.precision not in get_args(Precision):
            raise UserError(f"The precision must be float32 or bfloat16, not {self.precision}.")
        if not 0 <= self.seed < SEEDS:
            raise UserError(f"The seed must be from 0 to {SEEDS - 1}, not {self.seed}.")

    @property
    def identity(self) -> dict[str, Any]:
        """The options that must stay the same to continue a run."""
        fields = asdict(self)
        del fields["save_every"], fields["compile"]
        if self.decay == "constant":
            del fields["steps"]
        return fields

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.decay == "constant":
            return self.learning_rate
        done = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
