"""The loop of diffusers' train_unconditional.py, with diffusers and accelerate."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from devtools.torchvision_on_cpu import declare_missing_operators

from .script import ADAMW, EMA_MAX_DECAY, EMA_POWER, LEARNING_RATE, WARMUP_STEPS

declare_missing_operators()

from accelerate import Accelerator  # noqa: E402 -- imports torchvision
from diffusers import DDPMScheduler, UNet2DModel  # noqa: E402
from diffusers.optimization import get_scheduler  # noqa: E402
from diffusers.training_utils import EMAModel  # noqa: E402

TOTAL_STEPS = 10_000
"""The length of the learning rate's cosine."""


class Loop:
    """One network in the script's loop, from a batch of the data loader on; on the CPU, in float32.

    Args:
        shape: of the network, the arguments of ``UNet2DModel``.
        weights: to start from.
    """

    def __init__(self, shape: dict[str, Any], weights: dict[str, Tensor]):
        model = UNet2DModel(**shape)
        model.load_state_dict(weights)
        self.scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, **ADAMW)
        rates = get_scheduler(
            "cosine",
            optimizer=optimizer,
            num_warmup_steps=WARMUP_STEPS,
            num_training_steps=TOTAL_STEPS,
        )
        self.average = EMAModel(
            model.parameters(),
            decay=EMA_MAX_DECAY,
            use_ema_warmup=True,
            power=EMA_POWER,
            model_cls=UNet2DModel,
            model_config=model.config,
        )
        self.accelerator = Accelerator(cpu=True)
        self.model, self.optimizer, self.rates = self.accelerator.prepare(model, optimizer, rates)
        self.model.train()

    def step(self, images: Tensor, *, averaging: bool = False) -> float:
        """Train for one step and return its loss."""
        noise = torch.randn(images.shape, dtype=torch.float32, device=images.device)
        steps = self.scheduler.config["num_train_timesteps"]
        timesteps = torch.randint(0, steps, (len(images),), device=images.device).long()
        return self.learn(images, noise, timesteps, averaging=averaging)

    def learn(self, images: Tensor, noise: Tensor, timesteps: Tensor, *, averaging: bool) -> float:
        """Train on these images, with this noise and these timesteps."""
        noisy: Any = self.scheduler.add_noise(images, noise, timesteps)  # type: ignore[arg-type]
        accelerator = self.accelerator
        with accelerator.accumulate(self.model):
            loss = F.mse_loss(self.model(noisy, timesteps).sample.float(), noise.float())
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.rates.step()
            self.optimizer.zero_grad()
        if averaging and accelerator.sync_gradients:
            self.average.step(self.model.parameters())
        return loss.detach().item()
