"""Triangle meshes as binary glTF 2.0 (GLB): still, deforming by morph targets, or one mesh after the other.

Conventions: vertices (P, 3) float32, glTF's axes are this project's (right handed, y up, the front on +z); faces
(F, 3); colours (P, 3) sRGB in [0, 1], stored linear as glTF wants them, 16 bits a channel. The material is unlit
(KHR_materials_unlit): the colours already hold the light of the clip. Binary data goes to an unnamed temporary file, so
that memory does not grow with the number of frames.
"""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from stages.contracts import replacing
from stages.lib.surface import Mesh

MAGIC, VERSION, JSON_CHUNK, BINARY_CHUNK = b"glTF", 2, b"JSON", b"BIN\0"
HEADER, CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")
ARRAY_BUFFER, ELEMENT_BUFFER = 34962, 34963
COMPONENT = {"<f4": 5126, "<u2": 5123, "<u4": 5125}
# Sizes in the header are 32 bits.
LARGEST_FILE = (1 << 32) - 1


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """The inverse of `to_linear`."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055)


class _File:
    """A GLB being put together: its JSON in memory, its binary part on disk."""

    def __init__(self, folder: Path) -> None:
        self.binary = tempfile.TemporaryFile(dir=folder)
        self.size = 0
        self.views: list[dict] = []
        self.accessors: list[dict] = []

    def add(self, array: np.ndarray, kind: str, target: int | None = None, bounds: bool = False, **more) -> int:
        """Append an array (one element a row) and return the number of its accessor."""
        data = np.ascontiguousarray(array)
        view = {"buffer": 0, "byteOffset": self.size, "byteLength": data.nbytes}
        self.views.append(view if target is None else {**view, "target": target})
        accessor = {"bufferView": len(self.views) - 1, "componentType": COMPONENT[data.dtype.str]}
        accessor |= {"count": len(data), "type": kind, **more}
        if bounds:
            rows = data.reshape(len(data), -1)
            accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        self.accessors.append(accessor)
        # Every element type used here is a multiple of four bytes, so that all parts stay aligned.
        self.binary.write(data.tobytes())
        self.size += data.nbytes
        return len(self.accessors) - 1

    def primitive(self, mesh: Mesh) -> dict:
        """The accessors of one mesh."""
        linear = np.rint(to_linear(np.clip(mesh.colours, 0, 1)) * 65535).astype("<u2")
        opaque = np.full((len(linear), 1), 65535, "<u2")
        return {
            "attributes": {
                "POSITION": self.add(mesh.vertices.astype("<f4"), "VEC3", ARRAY_BUFFER, bounds=True),
                "COLOR_0": self.add(np.concatenate([linear, opaque], axis=1), "VEC4", ARRAY_BUFFER, normalized=True),
            },
            "indices": self.add(mesh.faces.astype("<u4").reshape(-1), "SCALAR", ELEMENT_BUFFER),
            "material": 0,
        }

    def write(self, path: Path, content: dict) -> None:
        """Write the file, atomically. Raises ValueError above 4 GB, the format's limit."""
        unlit = {"pbrMetallicRoughness": {"metallicFactor": 0.0}, "extensions": {"KHR_materials_unlit": {}}}
        document = {"asset": {"version": "2.0"}, "scene": 0, **content}
        if self.accessors:
            document |= {"extensionsUsed": ["KHR_materials_unlit"], "materials": [unlit]}
            document |= {"accessors": self.accessors, "bufferViews": self.views, "buffers": [{"byteLength": self.size}]}
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = HEADER.size + CHUNK.size + len(text) + (CHUNK.size + self.size if self.size else 0)
        if total > LARGEST_FILE:
            raise ValueError(f"{path} would have {total / 1e9:.1f} GB; a GLB holds 4.3. Lower exports.mesh_resolution.")
        with replacing(path) as temporary, open(temporary, "wb") as file:
            file.write(HEADER.pack(MAGIC, VERSION, total) + CHUNK.pack(len(text), JSON_CHUNK) + text)
            if self.size:
                file.write(CHUNK.pack(self.size, BINARY_CHUNK))
                self.binary.seek(0)
                shutil.copyfileobj(self.binary, file)


def write_still(path: Path, mesh: Mesh) -> None:
    """Write one mesh; a mesh without triangles becomes an empty scene, which glTF allows and an empty mesh is not."""
    file = _File(path.parent)
    if not len(mesh.faces):
        file.write(path, {"scenes": [{}]})
        return
    meshes = [{"primitives": [file.primitive(mesh)]}]
    file.write(path, {"scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}], "meshes": meshes})


def read_still(path: Path) -> Mesh:
    """Read what `write_still` wrote."""
    data = path.read_bytes()
    length = CHUNK.unpack_from(data, HEADER.size)[0]
    start = HEADER.size + CHUNK.size
    document = json.loads(data[start : start + length])
    if "meshes" not in document:
        return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32), np.zeros((0, 3), np.float32))
    start += length + CHUNK.size
    primitive = document["meshes"][0]["primitives"][0]

    def rows(number: int, dtype: str, width: int) -> np.ndarray:
        accessor = document["accessors"][number]
        offset = start + document["bufferViews"][accessor["bufferView"]]["byteOffset"]
        scalars = accessor["count"] * (1 if accessor["type"] == "SCALAR" else width)
        return np.frombuffer(data, dtype, scalars, offset).reshape(-1, width)

    attributes = primitive["attributes"]
    colours = rows(attributes["COLOR_0"], "<u2", 4)[:, :3].astype(np.float32) / 65535
    return Mesh(rows(attributes["POSITION"], "<f4", 3), rows(primitive["indices"], "<u4", 3), to_srgb(colours))


def write_morph(path: Path, mesh: Mesh, moved: Iterable[np.ndarray], seconds: np.ndarray) -> None:
    """Write a mesh that deforms: moved yields its vertices (P, 3) at each of the `seconds` (T,), linear between them.

    One morph target a frame; the weights of the animation are the rows of a unit matrix.
    """
    file = _File(path.parent)
    primitive = file.primitive(mesh)
    primitive["targets"] = [
        {"POSITION": file.add((place - mesh.vertices).astype("<f4"), "VEC3", ARRAY_BUFFER, bounds=True)}
        for place in moved
    ]
    count = len(seconds)
    times = file.add(seconds.astype("<f4"), "SCALAR", bounds=True)
    weights = file.add(np.eye(count, dtype="<f4").reshape(-1), "SCALAR")
    first = [1.0] + [0.0] * (count - 1)
    animation = {
        "samplers": [{"input": times, "output": weights, "interpolation": "LINEAR"}],
        "channels": [{"sampler": 0, "target": {"node": 0, "path": "weights"}}],
    }
    meshes = [{"primitives": [primitive], "weights": first}]
    content = {"scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}], "meshes": meshes, "animations": [animation]}
    file.write(path, content)


def write_flipbook(path: Path, meshes: Iterable[Mesh], seconds: np.ndarray) -> None:
    """Write one mesh a frame, shown one after the other: all but one are scaled to nothing, in steps.

    Frames without triangles show nothing.
    """
    file, nodes, kept = _File(path.parent), [], []
    for frame, mesh in enumerate(meshes):
        if len(mesh.faces):
            kept.append({"primitives": [file.primitive(mesh)]})
            nodes.append((frame, {"mesh": len(kept) - 1, "scale": [float(frame == 0)] * 3}))
    if not nodes:
        file.write(path, {"scenes": [{}]})
        return
    times = file.add(seconds.astype("<f4"), "SCALAR", bounds=True)
    samplers, channels = [], []
    for number, (frame, _) in enumerate(nodes):
        shown = np.zeros((len(seconds), 3), "<f4")
        shown[frame] = 1.0
        samplers.append({"input": times, "output": file.add(shown, "VEC3"), "interpolation": "STEP"})
        channels.append({"sampler": number, "target": {"node": number, "path": "scale"}})
    scene = {"nodes": list(range(len(nodes)))}
    content = {"scenes": [scene], "nodes": [node for _, node in nodes], "meshes": kept}
    file.write(path, {**content, "animations": [{"samplers": samplers, "channels": channels}]})
