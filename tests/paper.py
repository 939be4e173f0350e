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

    old: list[Tensor] = []
    for i, (t, s) in enumerate(zip(times, nexts, strict=True)):
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
