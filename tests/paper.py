"""A second, straightforward implementation of PNDM as its authors run it, for comparison.

Written from the formulas in the paper, with nothing shared with the code under test.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Eps = Callable[[Tensor, float], Tensor]


def paper_pndm(eps: Eps, x: Tensor, alphas_cumprod: Tensor, steps: int, method: str) -> Tensor:
    T = len(alphas_cumprod)
    gap = T // steps
    times = [i * gap for i in range(steps)][::-1]
    nexts = [*times[1:], -1]

    def a_of(t: float) -> Tensor:
        return alphas_cumprod[min(math.floor(t) + 1, T - 1)]

    def phi(x: Tensor, e: Tensor, t: float, s: float) -> Tensor:
        a, b = a_of(t), a_of(s)
        first = x / (torch.sqrt(a) * (torch.sqrt(a) + torch.sqrt(b)))
        second = e / (torch.sqrt(a) * (torch.sqrt((1 - b) * a) + torch.sqrt((1 - a) * b)))
        return x + (b - a) * (first - second)

    def flow(x: Tensor, t: float) -> Tensor:
        i, last = min(math.floor(t) + 1, T - 1), T - 1
        above = alphas_cumprod[min(i + 1, last)]
        below = alphas_cumprod[i - 1] if i else torch.ones(())
        slope = torch.log(above / below) / (2 if i < last else 1)
        a = alphas_cumprod[i]
        return slope / 2 * x - slope / 2 / torch.sqrt(1 - a) * eps(x, t)

    old: list[Tensor] = []
    for i, (t, s) in enumerate(zip(times, nexts, strict=True)):
        if method == "FON":
            h = s - t
            k1 = flow(x, t)
            old.append(k1)
            if i < 3:
                k2 = flow(x + h / 2 * k1, t + h / 2)
                k3 = flow(x + h / 2 * k2, t + h / 2)
                k4 = flow(x + h * k3, s)
                x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            else:
                x = x + h / 24 * (55 * old[-1] - 59 * old[-2] + 37 * old[-3] - 9 * old[-4])
            continue
        e1 = eps(x, t)
        old.append(e1)
        if method == "F-PNDM" and i < 3:
            m = (t + s) / 2
            e2 = eps(phi(x, e1, t, m), m)
            e3 = eps(phi(x, e2, t, m), m)
            e4 = eps(phi(x, e3, t, s), s)
            e = (e1 + 2 * e2 + 2 * e3 + e4) / 6
        elif method == "F-PNDM":
            e = (55 * old[-1] - 59 * old[-2] + 37 * old[-3] - 9 * old[-4]) / 24
        elif i == 0:
            e = (e1 + eps(phi(x, e1, t, s), s)) / 2
        elif method == "S-PNDM" or len(old) == 2:
            e = (3 * old[-1] - old[-2]) / 2
        elif len(old) == 3:
            e = (23 * old[-1] - 16 * old[-2] + 5 * old[-3]) / 12
        else:
            e = (55 * old[-1] - 59 * old[-2] + 37 * old[-3] - 9 * old[-4]) / 24
        x = phi(x, e, t, s)
    return x
