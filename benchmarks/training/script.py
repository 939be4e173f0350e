"""The recipe of diffusers' train_unconditional.py, without diffusers."""

import copy
import math

import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.unet.unet2d import UNet2D
from torch import Tensor
from torch.nn import functional as F

BATCH_SIZE = 16
LEARNING_RATE = 1e-4
WARMUP_STEPS = 500
ADAMW = {"betas": (0.95, 0.999), "weight_decay": 1e-6, "eps": 1e-8}
"""The script's defaults, with its ``--use_ema``:"""
EMA_MAX_DECAY, EMA_POWER = 0.9999, 0.75


class Script:
    """The script's recipe with averaging, for one network.

    Args:
        network: with the weights to start from.
        images: float32 in -1..1, shape (n, C, H, W).
        device: where to train.
        seed: of all random numbers.
    """

    def __init__(self, network: UNet2D, images: Tensor, device: torch.device, seed: int = 0):
        self.network = network.to(device).train()
        self.averaged = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.images = images.to(device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=LEARNING_RATE, **ADAMW)
        self.alphas_cumprod = NoiseSchedule.from_config(SchedulerConfig()).alphas_cumprod.to(device)
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = 0
        self._order: list[Tensor] = []

    def step(self, done: float) -> float:
        """Train for one step and return its loss.

        Args:
            done: the finished share of the training, 0..1, for the learning rate's cosine.
        """
        x0, device = self.images[self._next_batch()], self.images.device
        eps = torch.randn(x0.shape, generator=self.generator).to(device)
        t = torch.randint(len(self.alphas_cumprod), (len(x0),), generator=self.generator).to(device)
        return self.learn(x0, eps, t, done)

    def learn(self, x0: Tensor, eps: Tensor, t: Tensor, done: float) -> float:
        """Train on these images, with this noise and these timesteps."""
        a = self.alphas_cumprod[t][:, None, None, None]
        loss = F.mse_loss(self.network(a.sqrt() * x0 + (1 - a).sqrt() * eps, t), eps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        rate = self.steps / WARMUP_STEPS
        if rate >= 1:
            rate = 0.5 * (1 + math.cos(math.pi * min(done, 1)))
        self.optimizer.param_groups[0]["lr"] = LEARNING_RATE * rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1

        decay = min(EMA_MAX_DECAY, 1 - self.steps**-EMA_POWER)
        pairs = zip(self.averaged.parameters(), self.network.parameters(), strict=True)
        with torch.no_grad():
            for average, value in pairs:
                average.lerp_(value, 1 - decay)
        return loss.item()

    def _next_batch(self) -> Tensor:
        """Return indices: each image once per epoch; the last batch of an epoch may be smaller."""
        if not self._order:
            order = torch.randperm(len(self.images), generator=self.generator)
            self._order = list(order.split(BATCH_SIZE))
        return self._order.pop(0).to(self.images.device)
