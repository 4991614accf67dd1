"""The half turn about x, between this project's world and the one in which most PLY files of gaussians stand.

Conventions
-----------
- "+y": x right, y up, z towards the viewer: this project, glTF, OpenUSD and SPZ.
- "-y": x right, y down, z away from the viewer: COLMAP, whose worlds the INRIA code and its viewers keep. No file says
  which one it is in, so viewers assume: SuperSplat turns every PLY by 180 degrees, splat-transform turns SPZ into "-y"
  when it writes PLY, and web viewers are shown with the same half turn in their examples.
- Both are right handed, and the turn that leads from one to the other, diag(1, -1, -1), is its own inverse.
- Real spherical harmonics in the order and with the signs of the INRIA code (l = 0 to 3, m = -l to l): under this turn
  each is itself or its negative, since each is even or odd in (y, z).
"""

from __future__ import annotations

import numpy as np

from stages.contracts import Gaussians

# The sign of every basis function f(x, -y, -z) = sign f(x, y, z), one row a degree.
SH_SIGNS = np.array(
    [
        *(1,),
        *(-1, -1, 1),
        *(-1, 1, 1, -1, 1),
        *(-1, 1, -1, -1, 1, -1, 1),
    ],
    np.float32,
)
TURN = np.array([1, -1, -1], np.float32)
# Of w, x, y, z.
QUAT_SIGNS = np.array([1, 1, -1, -1], np.float32)


def half_turn(gaussians: Gaussians) -> Gaussians:
    """The same object turned by 180 degrees about x: means, ellipsoids and colours; applied twice it changes nothing.

    Orientations q become i q / i, which turns their ellipsoids and, about x, their own axes too: a half turn about an
    axis of its own leaves an ellipsoid as it is, and so nothing but signs change (as in splat-transform).
    """
    return Gaussians(
        gaussians.means * TURN,
        gaussians.quats * QUAT_SIGNS,
        gaussians.log_scales,
        gaussians.opacity_logits,
        gaussians.sh * SH_SIGNS[: gaussians.sh.shape[1], None],
    )
