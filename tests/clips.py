"""Small videos of noise, of which no frame is like another, in any container that is read."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image

from stages.lib import video


def write_noise(path: Path, n_frames: int = 12, side: int = 64) -> Path:
    """Write an MP4, WebM or GIF, as the suffix says."""
    pictures = np.random.default_rng(0).integers(0, 256, (n_frames, side, side, 3), dtype=np.uint8)
    if path.suffix == ".mp4":
        video.write_mp4(path, pictures, 24)
    elif path.suffix == ".gif":
        first, *others = (Image.fromarray(picture) for picture in pictures)
        first.save(path, save_all=True, append_images=others, duration=40)
    else:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libvpx-vp9", rate=24)
            stream.height, stream.width, stream.pix_fmt = side, side, "yuv420p"
            stream.options = {"deadline": "realtime", "cpu-used": "8"}
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    return path
