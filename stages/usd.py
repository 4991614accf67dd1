"""usd: the sequence as one OpenUSD file, the only standardised container of moving gaussians (extra [usd]).

Reads sequence.safetensors; writes sequence.usdc with one ParticleField3DGaussianSplat (OpenUSD 26.03 and later). Values
are after activation: linear scales, opacities in [0, 1], unit quaternions. Positions, orientations, scales and
opacities have a time sample a frame, at time codes 0, 1, ... for evenly spaced times; one code is one picture at
renders.fps. All gaussians are in every sample, so that a reader can interpolate; an absent one has opacity 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Sequence, replacing
from stages.settings import ExportsRun

INSTALL = "pip install -c requirements/constraints.txt usd-core"
PRIM = "/gaussians"
DEGREE_OF_BASES = {1: 0, 4: 1, 9: 2, 16: 3}


def time_codes(times: np.ndarray) -> np.ndarray:
    """Time codes (T,) of times (T,) in [0, 1]: 0 to T - 1, in proportion to time."""
    if len(times) == 1:
        return np.zeros(1)
    codes = (times - times[0]) / (times[-1] - times[0]) * (len(times) - 1)
    # Evenly spaced frames get whole numbers, whatever rounding left in their times.
    return np.round(codes, 6)


def write(path: Path, sequence: Sequence, fps: float) -> None:
    """Write the sequence; raises StageError with the command to type when usd-core is not installed."""
    try:
        from pxr import Sdf, Usd, UsdGeom, UsdVol, Vt
    except ImportError:
        raise StageError(f"USD needs usd-core, which is not installed; type `{INSTALL}` and run again.") from None
    codes = time_codes(sequence.times)
    with replacing(path) as temporary:
        stage = Usd.Stage.CreateNew(str(temporary))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        stage.SetTimeCodesPerSecond(fps)
        stage.SetFramesPerSecond(fps)
        stage.SetStartTimeCode(float(codes[0]))
        stage.SetEndTimeCode(float(codes[-1]))
        splats = UsdVol.ParticleField3DGaussianSplat.Define(stage, Sdf.Path(PRIM))
        stage.SetDefaultPrim(splats.GetPrim())
        splats.CreateRadianceSphericalHarmonicsDegreeAttr(DEGREE_OF_BASES[sequence.sh.shape[1]])
        colours = np.ascontiguousarray(sequence.sh.reshape(-1, 3))
        splats.CreateRadianceSphericalHarmonicsCoefficientsAttr(Vt.Vec3fArray.FromNumpy(colours))
        positions, orientations = splats.CreatePositionsAttr(), splats.CreateOrientationsAttr()
        scales, opacities, extent = splats.CreateScalesAttr(), splats.CreateOpacitiesAttr(), splats.CreateExtentAttr()
        for index, code in enumerate(codes.tolist()):
            means, here = sequence.means[index], sequence.present[index]
            quats = sequence.quats[index]
            unit = quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12)
            shown = np.where(here, 1.0 / (1.0 + np.exp(-sequence.opacity_logits[index])), 0.0)
            bounds = np.stack([means[here].min(axis=0), means[here].max(axis=0)]) if here.any() else np.zeros((2, 3))
            positions.Set(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(means)), code)
            # Vt keeps a quaternion as x y z w.
            xyzw = np.ascontiguousarray(unit[:, [1, 2, 3, 0]], np.float32)
            orientations.Set(Vt.QuatfArray.FromNumpy(xyzw), code)
            scales.Set(Vt.Vec3fArray.FromNumpy(np.exp(sequence.log_scales[index])), code)
            opacities.Set(Vt.FloatArray.FromNumpy(shown.astype(np.float32)), code)
            extent.Set(Vt.Vec3fArray.FromNumpy(bounds.astype(np.float32)), code)
        stage.GetRootLayer().Save()


def main(sequence: Path, out: Path, settings: ExportsRun, report: Reporter) -> None:
    """Write the sequence as one OpenUSD file."""
    the_sequence = Sequence.load(sequence, on_disk=True)
    write(out, the_sequence, settings.renders.fps)
    report.say(f"wrote {out}: {len(the_sequence.times)} time samples, {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    cli.run(main, "usd")
