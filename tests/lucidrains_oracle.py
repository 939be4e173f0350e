"""The network of lucidrains/denoising-diffusion-pytorch in each of its versions, as functions.

Written from what its versions compute, under their tensors' names, with nothing shared with the
code under test. Against the published packages of 10 versions, 60 random configurations each, it
differs by at most 2.1e-6 of the largest value.
"""

import lzma
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
Version = tuple[int, ...]

# One version of each generation, with the strided one first.
GENERATIONS: tuple[Version, ...] = (
    (0, 31, 1),
    (1, 6, 4),
    (1, 7, 1),
    (1, 7, 3),
    (1, 7, 7),
    (1, 8, 15),
    (1, 11, 1),
    (2, 3, 4),
)

_STORED = Path(__file__).parent / "lucidrains_shapes.txt.xz"


def stored_shapes() -> dict[str, Shapes]:
    """The names and shapes of each version's network at its default size, from the packages."""
    found: dict[str, Shapes] = {}
    for line in lzma.decompress(_STORED.read_bytes()).decode().splitlines():
        version, name, *shape = line.split()
        found.setdefault(version, {})[name] = tuple(map(int, shape))
    return found


@dataclass(frozen=True)
class Oracle:
    """The package's ``Unet`` of a version; each of ``full``, ``heads`` and ``head_width`` by level.

    ``mults`` are the widths of the levels, relative to ``dim``.
    """

    version: Version
    dim: int = 64
    init_dim: int | None = None
    mults: tuple[int, ...] = (1, 2, 4, 8)
    channels: int = 3
    self_condition: bool = False
    learned_variance: bool = False
    full: tuple[bool, ...] | None = None
    heads: tuple[int, ...] | None = None
    head_width: tuple[int, ...] | None = None
    groups: int = 8
    theta: float = 10000

    @property
    def widths(self) -> list[int]:
        return [self.init_dim or self.dim, *(self.dim * mult for mult in self.mults)]

    def is_full(self, level: int) -> bool:
        if self.version < (1, 8):
            return False
        return self.full[level] if self.full else level == len(self.mults) - 1

    def attention_of(self, level: int) -> tuple[int, int]:
        return (self.heads[level] if self.heads else 4), (
            self.head_width[level] if self.head_width else 32
        )

    # Names and shapes

    def shapes(self) -> Shapes:
        widths, time, levels = self.widths, 4 * self.dim, len(self.mults)
        channels = self.channels * (2 if self.self_condition else 1)
        found: Shapes = {}

        def layer(name: str, *shape: int) -> None:
            found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

        def block(name: str, cin: int, cout: int) -> None:
            layer(f"{name}.mlp.1", 2 * cout, time)
            for part, width in (("block1", cin), ("block2", cout)):
                layer(f"{name}.{part}.proj", cout, width, 3, 3)
                if self.version < (2,):
                    layer(f"{name}.{part}.norm", cout)
                else:
                    found[f"{name}.{part}.norm.g"] = (1, cout, 1, 1)
            if cin != cout:
                layer(f"{name}.res_conv", cout, cin, 1, 1)

        def attention(name: str, width: int, level: int, full: bool) -> None:
            old = self.version < (1, 8)
            inside = f"{name}.fn.fn" if old else name
            heads, d = self.attention_of(level)
            if self.version >= (1, 9):
                found[f"{inside}.mem_kv"] = (2, heads, 4, d) if full else (2, heads, d, 4)
            found[f"{inside}.to_qkv.weight"] = (3 * heads * d, width, 1, 1)
            layer(f"{inside}.to_out" if full else f"{inside}.to_out.0", width, heads * d, 1, 1)
            if not full:
                found[f"{inside}.to_out.1.g"] = (1, width, 1, 1)
            found[f"{name}.fn.norm.g" if old else f"{name}.norm.g"] = (1, width, 1, 1)

        layer("init_conv", widths[0], channels, 7, 7)
        layer("time_mlp.1", time, self.dim)
        layer("time_mlp.3", time, time)
        for i in range(levels):
            here, below = widths[i], widths[i + 1]
            for part in (0, 1):
                block(f"downs.{i}.{part}", here, here)
            attention(f"downs.{i}.2", here, i, self.is_full(i))
            if i == levels - 1:
                layer(f"downs.{i}.3", below, here, 3, 3)
            elif self.version < (0, 32):
                layer(f"downs.{i}.3", below, here, 4, 4)
            else:
                layer(f"downs.{i}.3.1", below, 4 * here, 1, 1)
            k = levels - 1 - i
            for part in (0, 1):
                block(f"ups.{k}.{part}", below + here, below)
            attention(f"ups.{k}.2", below, i, self.is_full(i))
            layer(f"ups.{k}.3.1" if i else f"ups.{k}.3", here, below, 3, 3)
        block("mid_block1", widths[-1], widths[-1])
        attention("mid_attn", widths[-1], levels - 1, True)
        block("mid_block2", widths[-1], widths[-1])
        block("final_res_block", 2 * widths[0], widths[0])
        layer("final_conv", self.channels * (2 if self.learned_variance else 1), widths[0], 1, 1)
        return found

    def weights(self, seed: int = 0) -> Weights:
        """Random weights with visible effects, as if trained."""
        generator = torch.Generator().manual_seed(seed)
        found: Weights = {}
        for name, shape in self.shapes().items():
            noise = torch.randn(shape, generator=generator)
            if name.endswith(".g") or name.endswith("norm.weight"):
                found[name] = 1 + 0.1 * noise
            elif len(shape) == 1 or name.endswith("mem_kv"):
                found[name] = noise if len(shape) > 1 else 0.1 * noise
            else:
                found[name] = noise / math.prod(shape[1:]) ** 0.5
        return found

    # The computation, in the precision of the weights

    def __call__(
        self, weights: Weights, x: Tensor, t: Tensor, last: Tensor | None = None
    ) -> Tensor:
        run = _Run(self, weights)
        levels = len(self.mults)
        if self.self_condition:
            x = torch.cat((torch.zeros_like(x) if last is None else last, x), dim=1)
        # Sines, then cosines; the exponent's divisor is one less than their number.
        half = self.dim // 2
        rates = torch.exp(torch.arange(half) * -(math.log(self.theta) / (half - 1)))
        angles = t[:, None] * rates
        time = torch.cat((angles.sin(), angles.cos()), 1).to(x.dtype)
        time = run.linear("time_mlp.3", F.gelu(run.linear("time_mlp.1", time)))

        x = first = run.conv("init_conv", x, padding=3)
        kept = []
        for i in range(levels):
            x = run.block(f"downs.{i}.0", x, time)
            kept.append(x)
            x = run.block(f"downs.{i}.1", x, time)
            x = x + run.attention(f"downs.{i}.2", x, i, self.is_full(i))
            kept.append(x)
            if i == levels - 1:
                x = run.conv(f"downs.{i}.3", x, padding=1)
            elif self.version < (0, 32):
                x = run.conv(f"downs.{i}.3", x, padding=1, stride=2)
            else:  # each 2 x 2 square becomes channels: c, then row, then column
                b, c, h, w = x.shape
                x = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
                x = run.conv(f"downs.{i}.3.1", x.reshape(b, 4 * c, h // 2, w // 2))
        x = run.block("mid_block1", x, time)
        x = x + run.attention("mid_attn", x, levels - 1, True)
        x = run.block("mid_block2", x, time)
        for k in range(levels):
            level = levels - 1 - k
            for part in (0, 1):
                x = run.block(f"ups.{k}.{part}", torch.cat((x, kept.pop()), 1), time)
            x = x + run.attention(f"ups.{k}.2", x, level, self.is_full(level))
            if level:
                x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = run.conv(f"ups.{k}.3.1" if level else f"ups.{k}.3", x, padding=1)
        x = run.block("final_res_block", torch.cat((x, first), 1), time)
        return run.conv("final_conv", x)


@dataclass(frozen=True)
class _Run:
    net: Oracle
    w: Weights

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def conv(self, name: str, x: Tensor, **how: Any) -> Tensor:
        return F.conv2d(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"), **how)

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Over the channels of each pixel: layer norm before 1.7, then RMSNorm."""
        if self.net.version < (1, 7):
            x = x - x.mean(1, keepdim=True)
            return x / (x.square().mean(1, keepdim=True) + 1e-5).sqrt() * self.w[f"{name}.g"]
        return x / x.square().sum(1, keepdim=True).sqrt() * x.shape[1] ** 0.5 * self.w[f"{name}.g"]

    def block(self, name: str, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.linear(f"{name}.mlp.1", F.silu(time))[..., None, None].chunk(2, 1)
        h = self.half(f"{name}.block1", x)
        h = F.silu(h * (1 + scale) + shift)
        h = F.silu(self.half(f"{name}.block2", h))
        return h + (self.conv(f"{name}.res_conv", x) if f"{name}.res_conv.weight" in self.w else x)

    def half(self, name: str, x: Tensor) -> Tensor:
        weight = self.w[f"{name}.proj.weight"]
        if self.net.version < (1, 7, 2):  # weight standardisation
            flat = weight.flatten(1)
            flat = flat - flat.mean(1, keepdim=True)
            variance = flat.square().mean(1, keepdim=True)
            least = variance.clamp(min=1e-5) if self.net.version == (1, 7, 1) else variance + 1e-5
            weight = (flat / least.sqrt()).view_as(weight)
        x = F.conv2d(x, weight, self.w[f"{name}.proj.bias"], padding=1)
        if self.net.version >= (2,):
            return self.norm(f"{name}.norm", x)
        norm = (self.w[f"{name}.norm.{part}"] for part in ("weight", "bias"))
        return F.group_norm(x, self.net.groups, *norm)

    def attention(self, name: str, x: Tensor, level: int, full: bool) -> Tensor:
        version = self.net.version
        inside, norm = (
            (f"{name}.fn.fn", f"{name}.fn.norm") if version < (1, 8) else (name, f"{name}.norm")
        )
        b, _, height, width = x.shape
        heads, d = self.net.attention_of(level)
        qkv = self.conv(f"{inside}.to_qkv", self.norm(norm, x))
        q, k, v = qkv.view(b, 3, heads, d, height * width).unbind(1)
        if version >= (1, 9):
            memory = self.w[f"{inside}.mem_kv"]
            memory = memory.transpose(2, 3) if full else memory
            k = torch.cat((memory[0].expand(b, -1, -1, -1), k), 3)
            v = torch.cat((memory[1].expand(b, -1, -1, -1), v), 3)
        if full:
            weight = torch.einsum("bhdi,bhdj->bhij", q, k) / d**0.5
            out = torch.einsum("bhij,bhdj->bhdi", weight.softmax(3), v)
        else:
            if version < (1, 7, 4):
                v = v / (height * width)
            context = torch.einsum("bhdn,bhen->bhde", k.softmax(3), v)
            out = torch.einsum("bhde,bhdn->bhen", context, q.softmax(2) / d**0.5)
        out = out.reshape(b, heads * d, height, width)
        if full:
            return self.conv(f"{inside}.to_out", out)
        return self.norm(f"{inside}.to_out.1", self.conv(f"{inside}.to_out.0", out))
