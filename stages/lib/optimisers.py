"""Adam, without what torch.compile hangs on it.

The first call of an optimiser of torch imports torch._dynamo, 800 modules in 2.4 s of processor time, a tenth of a
short fit. Nothing here is compiled by it, so the methods below are torch's own without that wrapper.
"""

from __future__ import annotations

import inspect

import torch


class Adam(torch.optim.Adam):
    """torch.optim.Adam, fused; eps 1e-15 as in 3DGS."""

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    _step = inspect.unwrap(torch.optim.Adam.step)

    def __init__(self, groups: list[dict]) -> None:
        super().__init__(groups, eps=1e-15, fused=True)

    @torch.no_grad()
    def step(self) -> None:
        """One descent from the gradients at hand."""
        self._step()
