"""Reference networks of other projects, written from their papers under their tensors' names.

Slow and plain, with nothing shared with the code under test: Ho et al. 2020 (as in torch), and
OpenAI's of Nichol & Dhariwal 2021 and Dhariwal & Nichol 2021.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter a value that matters, as if trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.add_(0.1 * noise)
            else:
                parameter.copy_(noise / math.sqrt(parameter[0].numel()))
    return model.eval()


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(B, C, N) each, one head."""
    weight = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(q.shape[1]), dim=-1)
    return v @ weight.transpose(1, 2)


class HoResnet(nn.Module):
    def __init__(self, cin: int, cout: int, time: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(32, cin, eps=1e-6)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.temb_proj = nn.Linear(time, cout)
        self.norm2 = nn.GroupNorm(32, cout, eps=1e-6)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)
        if cin != cout:
            self.nin_shortcut = nn.Conv2d(cin, cout, 1)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.temb_proj(F.silu(temb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class HoAttention(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        for name in ("q", "k", "v", "proj_out"):
            setattr(self, name, nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (conv(h).flatten(2) for conv in (self.q, self.k, self.v))
        return x + self.proj_out(attend(q, k, v).view_as(x))


class _Conv(nn.Module):
    def __init__(self, channels: int, stride: int, padding: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=padding)


class Ho(nn.Module):
    """``attention`` are the levels that have it."""

    def __init__(
        self,
        ch: int = 32,
        mult: Sequence[int] = (1, 2, 2, 2),
        layers: int = 1,
        attention: Sequence[int] = (1,),
        channels: int = 3,
    ):
        super().__init__()
        self.ch, self.layers = ch, layers
        time = 4 * ch
        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList([nn.Linear(ch, time), nn.Linear(time, time)])
        self.conv_in = nn.Conv2d(channels, ch, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        now, skips = ch, [ch]
        for i, m in enumerate(mult):
            level = nn.Module()
            level.block, level.attn = nn.ModuleList(), nn.ModuleList()
            for _ in range(layers):
                level.block.append(HoResnet(now, ch * m, time))
                now = ch * m
                if i in attention:
                    level.attn.append(HoAttention(now))
                skips.append(now)
            if i < len(mult) - 1:
                level.downsample = _Conv(now, 2, 0)
                skips.append(now)
            self.down.append(level)
        self.mid = nn.Module()
        self.mid.block_1 = HoResnet(now, now, time)
        self.mid.attn_1 = HoAttention(now)
        self.mid.block_2 = HoResnet(now, now, time)
        levels = []
        for i in reversed(range(len(mult))):
            level = nn.Module()
            level.block, level.attn = nn.ModuleList(), nn.ModuleList()
            for _ in range(layers + 1):
                level.block.append(HoResnet(now + skips.pop(), ch * mult[i], time))
                now = ch * mult[i]
                if i in attention:
                    level.attn.append(HoAttention(now))
            if i > 0:
                level.upsample = _Conv(now, 1, 1)
            levels.insert(0, level)
        self.up.extend(levels)
        self.norm_out = nn.GroupNorm(32, now, eps=1e-6)
        self.conv_out = nn.Conv2d(now, channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        half = self.ch // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))
        angles = t.float()[:, None] * rates
        temb = self.temb.dense[0](torch.cat((angles.sin(), angles.cos()), 1).to(x.dtype))
        temb = self.temb.dense[1](F.silu(temb))
        x = self.conv_in(x)
        skips = [x]
        for level in self.down:
            for j, block in enumerate(level.block):
                x = block(x, temb)
                if len(level.attn):
                    x = level.attn[j](x)
                skips.append(x)
            if hasattr(level, "downsample"):
                x = level.downsample.conv(F.pad(x, (0, 1, 0, 1)))
                skips.append(x)
        x = self.mid.block_2(self.mid.attn_1(self.mid.block_1(x, temb)), temb)
        for level in reversed(self.up):
            for j, block in enumerate(level.block):
                x = block(torch.cat((x, skips.pop()), 1), temb)
                if len(level.attn):
                    x = level.attn[j](x)
            if hasattr(level, "upsample"):
                x = level.upsample.conv(_twice(x))
        return self.conv_out(F.silu(self.norm_out(x)))


def _twice(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def _half(x: Tensor) -> Tensor:
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


class OpenAIResnet(nn.Module):
    def __init__(
        self,
        cin: int,
        cout: int,
        time: int,
        scale_shift: bool,
        resample: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample
        nothing = nn.Identity()
        self.in_layers = nn.ModuleList(
            [nn.GroupNorm(32, cin), nothing, nn.Conv2d(cin, cout, 3, padding=1)]
        )
        self.emb_layers = nn.ModuleList([nothing, nn.Linear(time, cout * (1 + scale_shift))])
        self.out_layers = nn.ModuleList(
            [nn.GroupNorm(32, cout), nothing, nothing, nn.Conv2d(cout, cout, 3, padding=1)]
        )
        self.skip_connection = nn.Conv2d(cin, cout, 1) if cin != cout else nothing

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = F.silu(self.in_layers[0](x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.in_layers[2](h)
        e = self.emb_layers[1](F.silu(emb))[:, :, None, None]
        if self.scale_shift:
            scale, shift = e[:, : h.shape[1]], e[:, h.shape[1] :]
            h = self.out_layers[0](h) * (1 + scale) + shift
        else:
            h = self.out_layers[0](h + e)
        return self.skip_connection(x) + self.out_layers[3](F.silu(h))


class OpenAIAttention(nn.Module):
    def __init__(self, channels: int, heads: int, new_order: bool):
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        channels, width = x.shape[1], x.shape[1] // self.heads
        qkv = self.qkv(self.norm(x).flatten(2))
        results = []
        for head in range(self.heads):
            if self.new_order:
                starts = [part * channels + head * width for part in range(3)]
            else:
                starts = [(3 * head + part) * width for part in range(3)]
            results.append(attend(*(qkv[:, s : s + width] for s in starts)))
        return x + self.proj_out(torch.cat(results, 1)).view_as(x)


class _Resample(nn.Module):
    def __init__(self, channels: int, up: bool):
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1)
        self.up = up
        setattr(self, "conv" if up else "op", conv)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.conv(_twice(x)) if self.up else self.op(x)


class OpenAI(nn.Module):
    """``attention`` are the levels that have it; ``heads`` a number, or None for ``head_width``."""

    def __init__(
        self,
        ch: int = 32,
        mult: Sequence[float] = (1, 2, 2, 2),
        layers: int = 1,
        attention: Sequence[int] = (1, 2),
        channels: int = 3,
        out: int = 6,
        heads: int | None = 4,
        head_width: int = 64,
        scale_shift: bool = True,
        updown: bool = False,
        new_order: bool = False,
        classes: int | None = None,
        rescale_from: int | None = None,
    ):
        super().__init__()
        self.ch, self.rescale_from = ch, rescale_from
        time = 4 * ch
        widths = [int(ch * m) for m in mult]

        def resnet(cin: int, cout: int, resample: Callable | None = None) -> nn.Module:
            return OpenAIResnet(cin, cout, time, scale_shift, resample)

        def attend_over(width: int) -> nn.Module:
            return OpenAIAttention(width, heads or width // head_width, new_order)

        self.time_embed = nn.ModuleList([nn.Linear(ch, time), nn.Identity(), nn.Linear(time, time)])
        if classes is not None:
            self.label_emb = nn.Embedding(classes, time)
        self.input_blocks = nn.ModuleList(
            [nn.ModuleList([nn.Conv2d(channels, widths[0], 3, padding=1)])]
        )
        now, skips = widths[0], [widths[0]]
        for i, width in enumerate(widths):
            for _ in range(layers):
                parts = [resnet(now, width)]
                now = width
                if i in attention:
                    parts.append(attend_over(now))
                self.input_blocks.append(nn.ModuleList(parts))
                skips.append(now)
            if i < len(mult) - 1:
                down = resnet(now, now, _half) if updown else _Resample(now, up=False)
                self.input_blocks.append(nn.ModuleList([down]))
                skips.append(now)
        self.middle_block = nn.ModuleList([resnet(now, now), attend_over(now), resnet(now, now)])
        self.output_blocks = nn.ModuleList()
        for i in reversed(range(len(mult))):
            for j in range(layers + 1):
                parts = [resnet(now + skips.pop(), widths[i])]
                now = widths[i]
                if i in attention:
                    parts.append(attend_over(now))
                if i and j == layers:
                    parts.append(resnet(now, now, _twice) if updown else _Resample(now, up=True))
                self.output_blocks.append(nn.ModuleList(parts))
        nothing = nn.Identity()
        self.out = nn.ModuleList(
            [nn.GroupNorm(32, now), nothing, nn.Conv2d(now, out, 3, padding=1)]
        )

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        t = t.float()
        if self.rescale_from is not None:
            t = t * (1000.0 / self.rescale_from)
        half = self.ch // 2
        angles = t[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)
        emb = self.time_embed[0](torch.cat((angles.cos(), angles.sin()), 1).to(x.dtype))
        emb = self.time_embed[2](F.silu(emb))
        if y is not None:
            emb = emb + self.label_emb(y)
        x = self.input_blocks[0][0](x)
        skips = [x]
        for block in self.input_blocks[1:]:
            for part in block:
                x = part(x, emb)
            skips.append(x)
        for part in self.middle_block:
            x = part(x, emb)
        for block in self.output_blocks:
            x = torch.cat((x, skips.pop()), 1)
            for part in block:
                x = part(x, emb)
        return self.out[2](F.silu(self.out[0](x)))


def cosine_betas(steps: int) -> Tensor:
    """Nichol & Dhariwal 2021, eq. 17, in float64."""

    def f(s: float) -> float:
        return math.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2

    values = [min(0.999, 1 - f((t + 1) / steps) / f(t / steps)) for t in range(steps)]
    return torch.tensor(values, dtype=torch.float64)


def p_sample_loop(
    model: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    betas: Tensor,
    times: Sequence[int],
    noise: Callable[[], Tensor],
) -> Tensor:
    """Ancestral sampling with a learned range of variances over some of the steps (float64).

    The model is called in float64 too. As in the respaced process, betas are recomputed from the
    cumulative products at ``times`` (descending), and the model gets the original times.
    """
    kept = torch.cumprod(1 - betas, 0)[torch.tensor(times[::-1])]
    before = torch.cat((torch.ones(1, dtype=torch.float64), kept[:-1]))
    beta = 1 - kept / before
    posterior = beta * (1 - before) / (1 - kept)
    log_small = torch.cat((posterior[1:2], posterior[1:])).log()
    x = x.double()
    for i in reversed(range(len(times))):
        t = torch.full((x.shape[0],), times[len(times) - 1 - i])
        eps, v = model(x, t).chunk(2, dim=1)
        x0 = (x / kept[i].sqrt() - (1 / kept[i] - 1).sqrt() * eps).clamp(-1, 1)
        mean = before[i].sqrt() * beta[i] / (1 - kept[i]) * x0
        mean = mean + (1 - beta[i]).sqrt() * (1 - before[i]) / (1 - kept[i]) * x
        share = (v + 1) / 2
        log_variance = share * beta[i].log() + (1 - share) * log_small[i]
        x = mean + (log_variance / 2).exp() * noise().double() if i else mean
    return x
