"""Adam without torch.compile's wrapper: the same numbers as torch's own."""

import torch

from stages.lib.optimisers import Adam


def descents(make):
    generator = torch.Generator().manual_seed(0)
    params = [torch.randn(size, generator=generator).requires_grad_() for size in ((50, 3), (7,))]
    adam = make([{"params": [params[0]], "lr": 0.1}, {"params": [params[1]], "lr": 0.03}])
    for step in range(8):
        adam.zero_grad(set_to_none=True)
        ((params[0] ** 3).sum() + (params[1] ** 2).sum()).backward()
        adam.step()
        if step == 4:
            adam.load_state_dict(adam.state_dict())
    return params, adam.state_dict()


def test_it_is_torch_s_own_bit_for_bit():
    ours, kept = descents(Adam)
    theirs, expected = descents(lambda groups: torch.optim.Adam(groups, eps=1e-15, fused=True))
    for here, there in zip(ours, theirs, strict=True):
        assert torch.equal(here, there)
    assert kept["param_groups"] == expected["param_groups"]
    for index, state in expected["state"].items():
        assert all(torch.equal(kept["state"][index][name], value) for name, value in state.items())
