"""The files in which stages meet: one dataclass a file, each with `save` and `load`, checked at the door.

Conventions
-----------
- Letters: T frames, V views, A frames with anchors, N gaussians, K spherical-harmonics bases, H W pixels.
- Images: uint8 RGBA, straight alpha (colour is not multiplied by alpha); 0 outside the object.
- Gaussians are stored before activation: quaternions wxyz (any length), `log_scales`, `opacity_logits`.
- Angles in degrees; elevations absolute, azimuths relative to the input camera, which is at azimuth 0.
- `record` says where a file comes from: settings, inputs, device, versions (see `cli.py`).
- Files are written beside their final name and renamed, so a killed job leaves no half file; what it leaves beside
  it goes when the file is written next.
- NumPy only: importing this module imports no torch.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes

from stages.lib import ply
from stages.lib.cameras import Cameras, orbit


class ContractError(ValueError):
    """A file or array that breaks its contract; the text names it, what was found and what was expected."""


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _temporary(path: Path, suffix: str = "") -> Path:
    """Where this process writes what becomes `path`; makes the folder, and removes what was left there by a kill.

    The name holds the machine, since on a shared file system only processes of this one can be known to be gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ours = f".{path.name}.{platform.node()}."
    for name in os.listdir(path.parent):
        process, _, ending = name.removeprefix(ours).partition(".")
        if name.startswith(ours) and process.isdigit() and ending.startswith("part") and not _alive(int(process)):
            left = path.with_name(name)
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
    return path.with_name(f"{ours}{os.getpid()}.part{suffix}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` on success and vanishes on failure (also on a full disk)."""
    path = Path(path)
    temporary = _temporary(path, path.suffix)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` on success and vanishes on failure.

    Whenever it is interrupted, `path` is the whole old folder, the whole new one, or, for a moment, none.
    """
    path = Path(path)
    temporary = _temporary(path)
    replaced = temporary.with_name(temporary.name + "-old")
    for left in (temporary, replaced):
        shutil.rmtree(left, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        # Deleting takes many steps, so what is deleted has lost its name before.
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_axes(owner: str, spec: dict[str, str], arrays: dict[str, np.ndarray]) -> dict[str, int]:
    """Check dtypes and shapes such as "uint8 T H W 4" against each other; return the size of each letter.

    Raises ContractError naming the array, its shape and what the letters had been bound to before.
    """
    sizes: dict[str, int] = {}
    for name, expected in spec.items():
        dtype, *axes = expected.split()
        array = arrays[name]
        if array.dtype != np.dtype(dtype):
            raise ContractError(f"{owner}.{name} has dtype {array.dtype}; expected {dtype}.")
        wrong = array.ndim != len(axes)
        for axis, size in zip(axes, array.shape, strict=False):
            wanted = int(axis) if axis.isdigit() else sizes.setdefault(axis, size)
            wrong = wrong or wanted != size
        if wrong:
            bound = ", ".join(f"{letter}={size}" for letter, size in sizes.items())
            raise ContractError(
                f"{owner}.{name} has shape {array.shape}; expected ({' '.join(axes)})"
                + (f" with {bound}." if bound else ".")
            )
    return sizes


def check_finite(owner: str, arrays: dict[str, np.ndarray]) -> None:
    """Raise ContractError if any array holds NaN or infinity; what is on disk is read one picture after the other."""
    for name, array in arrays.items():
        parts = array if isinstance(array, OnDisk) else (array,)
        bad = sum(int(part.size - np.isfinite(part).sum()) for part in parts)
        if bad:
            raise ContractError(
                f"{owner}.{name} holds {bad} NaN or infinite values of {array.size}; expected finite numbers."
            )


def _open_error(path: Path, error: Exception, expected: str) -> ContractError:
    return ContractError(
        f"{path} cannot be read as {expected} ({error}). Delete it and run the same command again to remake it."
    )


# What safetensors calls the dtypes of a sequence, and how many bytes its header's length takes.
TENSOR_DTYPES = {"F64": "float64", "F32": "float32", "BOOL": "bool"}
HEADER_LENGTH = struct.Struct("<Q")


class OnDisk:
    """A stack of pictures that stays on disk: indexing its leading axes chooses, one picture is read when it is used.

    For whoever looks at one picture after the other, so that memory does not grow with a clip's length; a picture may
    as well be the gaussians of a frame. Like an array it has dtype, ndim, shape, size and len, and NumPy reads all of
    it where it wants an array. The file is read, not mapped: mapped pages would count as the process's memory.
    """

    def __init__(
        self, file: IO[bytes], dtype: np.dtype, picture: tuple[int, ...], at: np.ndarray, start: int = 0
    ) -> None:
        self._file, self._picture, self._at, self._start = file, picture, at, start
        self.dtype = dtype
        self.shape = (*at.shape, *picture)
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape))

    @classmethod
    def member(cls, path: Path, name: str, leading: int) -> OnDisk:
        """Array `name` of an .npz, unpacked into a file without a name that goes with the process."""
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as packed:
            version = np.lib.format.read_magic(packed)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = header(packed)
            if fortran or dtype.hasobject or len(shape) < leading:
                raise ValueError(f"{name} has shape {shape}, dtype {dtype}; expected pictures in C order")
            unpacked = tempfile.TemporaryFile()
            shutil.copyfileobj(packed, unpacked, 1 << 20)
            unpacked.flush()
        at = np.arange(np.prod(shape[:leading], dtype=np.int64)).reshape(shape[:leading])
        return cls(unpacked, dtype, tuple(shape[leading:]), at)

    @classmethod
    def tensors(cls, path: Path, names: Iterable[str]) -> dict[str, OnDisk]:
        """The tensors of these names that a whole safetensors file has, stacks along their first axis."""
        file = open(path, "rb")
        (length,) = HEADER_LENGTH.unpack(file.read(HEADER_LENGTH.size))
        header = json.loads(file.read(length))
        start = HEADER_LENGTH.size + length
        return {
            name: cls(
                file,
                np.dtype(TENSOR_DTYPES[header[name]["dtype"]]),
                tuple(header[name]["shape"][1:]),
                np.arange(header[name]["shape"][0]),
                start + header[name]["data_offsets"][0],
            )
            for name in names
            if name in header
        }

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, key) -> OnDisk | np.ndarray:
        chosen = self._at[key]
        if chosen.ndim:
            return OnDisk(self._file, self.dtype, self._picture, chosen, self._start)
        size = int(np.prod(self._picture)) * self.dtype.itemsize
        data = os.pread(self._file.fileno(), size, self._start + int(chosen) * size)
        return np.frombuffer(data, self.dtype).reshape(self._picture)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        pictures = [self[index] for index in np.ndindex(self._at.shape)]
        return np.array(pictures, dtype or self.dtype).reshape(self.shape)


class _Npz:
    """Save and load a dataclass of arrays as a compressed .npz; equal contents give equal bytes."""

    # Axes of `rgba` before height: T of Frames, two (views and times) of the others.
    PICTURE_AXES: ClassVar[int] = 2

    def save(self, path: Path) -> None:
        self.check()
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "record"}
        with replacing(path) as temporary:
            np.savez_compressed(temporary, **values, record=np.array(json.dumps(self.record, sort_keys=True)))

    @classmethod
    def load(cls, path: Path, on_disk: bool = False):
        """The checked contents of a file; `on_disk` leaves `rgba` there (OnDisk). Raises ContractError."""
        try:
            with np.load(path, allow_pickle=False) as file:
                values = {name: file[name] for name in file.files if not (on_disk and name == "rgba")}
                if on_disk and "rgba" in file.files:
                    # All but height, width and channel, which come last in every file of pictures.
                    values["rgba"] = OnDisk.member(path, "rgba", cls.PICTURE_AXES)
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise _open_error(path, error, cls.__name__) from None
        except Exception as error:  # zipfile.BadZipFile and zlib.error share no base class
            raise _open_error(path, error, cls.__name__) from None
        missing = {f.name for f in fields(cls)} - set(values)
        if missing:
            raise ContractError(f"{path} lacks {sorted(missing)}; expected a file of {cls.__name__}.")
        values = {f.name: values[f.name] for f in fields(cls)}
        values = {name: value if value.ndim else value[()] for name, value in values.items()}
        loaded = cls(**{**values, "record": json.loads(str(values["record"]))})
        loaded.check()
        return loaded


@dataclass(frozen=True)
class Clip(_Npz):
    """A generated clip, cut out, at the size at which it was generated: what stage frames reads like a video."""

    PICTURE_AXES: ClassVar[int] = 1

    rgba: np.ndarray
    """(T, H, W, 4) uint8, the object's place in the first frame in the middle"""
    record: dict = field(default_factory=dict)

    def check(self) -> None:
        check_axes("Clip", {"rgba": "uint8 T H W 4"}, vars(self))


@dataclass(frozen=True)
class Frames(_Npz):
    """The input view over time."""

    PICTURE_AXES: ClassVar[int] = 1

    rgba: np.ndarray
    """(T, H, W, 4) uint8"""
    times: np.ndarray
    """(T,) float64, increasing in [0, 1]"""
    key: int
    """index of the frame of the canonical fit"""
    fovy_deg: float
    """vertical field of view of every camera of the scene"""
    radius: float
    """distance of every camera to the origin"""
    elevation_deg: float
    """elevation of the input camera"""
    record: dict = field(default_factory=dict)

    def check(self) -> None:
        sizes = check_axes("Frames", {"rgba": "uint8 T H W 4", "times": "float64 T"}, vars(self))
        if not 0 <= self.key < sizes["T"]:
            raise ContractError(f"Frames.key is {self.key}; expected 0 to {sizes['T'] - 1}.")

    def cameras(self, azimuth_deg, elevation_deg, size: int | None = None) -> Cameras:
        """The scene's cameras at the given angles; `size` replaces the frames' own height and width."""
        height, width = self.rgba.shape[1:3] if size is None else (size, size)
        return orbit(azimuth_deg, elevation_deg, float(self.radius), float(self.fovy_deg), width, height)


@dataclass(frozen=True)
class Truth(_Npz):
    """Ground-truth views that are not given to the fit; V = 0 when the scene has none."""

    rgba: np.ndarray
    """(V, T, H, W, 4) uint8"""
    azimuth_deg: np.ndarray
    """(V, T) float64; constant in T for a fixed camera"""
    elevation_deg: np.ndarray
    """(V, T) float64"""
    record: dict = field(default_factory=dict)

    def check(self) -> None:
        angle = "float64 V T"
        check_axes("Truth", {"rgba": "uint8 V T H W 4", "azimuth_deg": angle, "elevation_deg": angle}, vars(self))


@dataclass(frozen=True)
class Anchors(_Npz):
    """Views of some frames at known angles that supervise the unseen sides."""

    rgba: np.ndarray
    """(A, V, H, W, 4) uint8"""
    frame: np.ndarray
    """(A,) int64, index into Frames.rgba"""
    azimuth_deg: np.ndarray
    """(V,) float64"""
    elevation_deg: np.ndarray
    """(V,) float64"""
    source: str
    """rendered, imported, inflated, zero123plus or micro"""
    record: dict = field(default_factory=dict)

    def check(self) -> None:
        spec = {"rgba": "uint8 A V H W 4", "frame": "int64 A", "azimuth_deg": "float64 V", "elevation_deg": "float64 V"}
        check_axes("Anchors", spec, vars(self))


@dataclass(frozen=True)
class Corpus(_Npz):
    """Pictures that a small prior is trained on: S samples, each one moment of one object."""

    rgba: np.ndarray
    """(S, V, H, W, 4) uint8, the six views of Zero123++"""
    condition: np.ndarray
    """(S, P, P, 4) uint8, the input view"""
    name: np.ndarray
    """(S,) text, the object's family"""
    object_seed: np.ndarray
    """(S,) int64, which object of the family"""
    time: np.ndarray
    """(S,) float64 in [0, 1]"""
    azimuth_deg: np.ndarray
    """(S,) float64, where the input camera stands; the views are relative to it"""
    random: np.ndarray
    """(S, R, H, W, 4) uint8, views at random angles"""
    random_azimuth_deg: np.ndarray
    """(S, R) float64, relative to the input camera"""
    random_elevation_deg: np.ndarray
    """(S, R) float64, above the horizon, where the input camera stands"""
    record: dict = field(default_factory=dict)

    def check(self) -> None:
        numbers = {"object_seed": "int64 S", "time": "float64 S", "azimuth_deg": "float64 S"}
        angles = {"random_azimuth_deg": "float64 S R", "random_elevation_deg": "float64 S R"}
        pictures = {"rgba": "uint8 S V H W 4", "condition": "uint8 S P P 4", "random": "uint8 S R H W 4"}
        spec = {**pictures, **numbers, **angles}
        sizes = check_axes("Corpus", spec, vars(self))
        if self.name.shape != (sizes["S"],):
            raise ContractError(f"Corpus.name has shape {self.name.shape}; expected ({sizes['S']},).")


@dataclass(frozen=True)
class Views(_Npz):
    """The baked sequence drawn from every camera that is scored."""

    rgba: np.ndarray
    """(V, T, H, W, 4) uint8"""
    kind: np.ndarray
    """(V,) text: input, anchor or truth; V is in this order"""
    azimuth_deg: np.ndarray
    """(V, T) float64"""
    elevation_deg: np.ndarray
    """(V, T) float64"""
    record: dict = field(default_factory=dict)

    def check(self) -> None:
        angle = "float64 V T"
        check_axes("Views", {"rgba": "uint8 V T H W 4", "azimuth_deg": angle, "elevation_deg": angle}, vars(self))
        if self.kind.shape != self.rgba.shape[:1]:
            raise ContractError(f"Views.kind has shape {self.kind.shape}; expected ({self.rgba.shape[0]},).")


@dataclass(frozen=True)
class Features(_Npz):
    """What networks say of one fit's evaluation views, for distances between sets; D = 0 where a network is absent.

    The first axis holds our pictures, then the ground truth.
    """

    i3d: np.ndarray
    """(2, V, D) float64, logits of each clip"""
    inception: np.ndarray
    """(2, V, T, E) float64, pooled features of each frame"""
    resnet3d: np.ndarray
    """(2, V, F) float64, mean feature of each clip"""
    record: dict = field(default_factory=dict)

    def check(self) -> None:
        spec = {"i3d": "float64 2 V D", "inception": "float64 2 V T E", "resnet3d": "float64 2 V F"}
        check_axes("Features", spec, vars(self))
        check_finite("Features", {name: getattr(self, name) for name in spec})


@dataclass(frozen=True)
class Gaussians:
    """One static set of gaussians, stored as PLY in the INRIA layout."""

    means: np.ndarray
    """(N, 3) float32, world units"""
    quats: np.ndarray
    """(N, 4) float32, wxyz"""
    log_scales: np.ndarray
    """(N, 3) float32"""
    opacity_logits: np.ndarray
    """(N,) float32"""
    sh: np.ndarray
    """(N, K, 3) float32"""

    NAMES: ClassVar[tuple[str, ...]] = ("means", "quats", "log_scales", "opacity_logits", "sh")

    def check(self) -> None:
        spec = {"means": "float32 N 3", "quats": "float32 N 4", "log_scales": "float32 N 3"}
        spec |= {"opacity_logits": "float32 N", "sh": "float32 N K 3"}
        check_axes("Gaussians", spec, vars(self))
        check_finite("Gaussians", vars(self))

    def save(self, path: Path, record: dict | None = None) -> None:
        self.check()
        comments = [] if record is None else [json.dumps(record, sort_keys=True)]
        with replacing(path) as temporary:
            ply.write(temporary, **vars(self), comments=comments)

    @classmethod
    def load(cls, path: Path) -> Gaussians:
        try:
            loaded = cls(**ply.read(path))
        except (OSError, ValueError) as error:
            raise _open_error(path, error, "Gaussians") from None
        loaded.check()
        return loaded


def save_tensors(path: Path, arrays: dict[str, np.ndarray], record: dict) -> None:
    """Write arrays and their record as safetensors, atomically."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    data = safetensors_bytes(contiguous, metadata={"record": json.dumps(record, sort_keys=True)})
    # Written here, since the library's own error of a full disk is no OSError.
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def load_tensors(path: Path, on_disk: Collection[str] = ()) -> tuple[dict[str, np.ndarray], dict]:
    """Read what `save_tensors` wrote, but for tensors that stay `on_disk`; raises ContractError on anything else."""
    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name not in on_disk]  # noqa: SIM118 - not a dict
            arrays = {name: file.get_tensor(name) for name in names}
            record = json.loads(file.metadata()["record"])
        if on_disk:
            arrays |= OnDisk.tensors(path, on_disk)
    except (OSError, SafetensorError, KeyError, IndexError, TypeError, ValueError) as error:
        raise _open_error(path, error, "safetensors with a record") from None
    return arrays, record


def _tensor_header(tensors: dict[str, tuple[str, tuple[int, ...]]], record: dict) -> tuple[dict[str, int], bytes]:
    """Where each tensor of (dtype, shape) begins in a safetensors file, and all that stands before the first.

    As the library writes it: wide dtypes first, then by name, the header padded with spaces to eight bytes.
    """
    header: dict[str, dict] = {"__metadata__": {"record": json.dumps(record, sort_keys=True)}}
    width = {name: np.dtype(TENSOR_DTYPES[dtype]).itemsize for name, (dtype, _) in tensors.items()}
    end = 0
    for name in sorted(tensors, key=lambda name: (-width[name], name)):
        dtype, shape = tensors[name]
        begin, end = end, end + width[name] * int(np.prod(shape))
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    start = HEADER_LENGTH.size + len(text)
    return {name: start + header[name]["data_offsets"][0] for name in tensors}, HEADER_LENGTH.pack(len(text)) + text


# What changes from frame to frame; the colour of a gaussian does not.
MOVING = ("means", "quats", "log_scales", "opacity_logits")
# One frame of a sequence, absent gaussians included: MOVING (N, ...) float32 and "present" (N,) bool.
Moment = dict[str, np.ndarray]
# Times are written as float64 and computed the same way everywhere; this forgives only rounding.
TIME_TOLERANCE = 1e-6


def nearest_frame(times: np.ndarray, time: float) -> int:
    """Index of the frame of `times` (T,) nearest to a time, the first of several as near."""
    return int(np.abs(times - time).argmin())


@dataclass(frozen=True)
class Sequence:
    """The gaussians of every frame, activated by nothing: what every later stage reads.

    Loaded with `on_disk`, what changes with time is OnDisk: `frame` and `at` work, and a frame is read when it is used.
    """

    means: np.ndarray
    """(T, N, 3) float32"""
    quats: np.ndarray
    """(T, N, 4) float32"""
    log_scales: np.ndarray
    """(T, N, 3) float32"""
    opacity_logits: np.ndarray
    """(T, N) float32"""
    sh: np.ndarray
    """(N, K, 3) float32"""
    present: np.ndarray
    """(T, N) bool: whether the gaussian exists in the frame"""
    times: np.ndarray
    """(T,) float64"""
    record: dict = field(default_factory=dict)

    def check(self) -> None:
        spec = {"means": "float32 T N 3", "quats": "float32 T N 4", "log_scales": "float32 T N 3"}
        spec |= {"opacity_logits": "float32 T N", "sh": "float32 N K 3", "present": "bool T N", "times": "float64 T"}
        check_axes("Sequence", spec, vars(self))
        check_finite("Sequence", {name: getattr(self, name) for name in spec if name != "present"})

    def save(self, path: Path) -> None:
        self.check()
        save_tensors(path, {f.name: getattr(self, f.name) for f in fields(self) if f.name != "record"}, self.record)

    @staticmethod
    def save_frames(path: Path, frames: Iterable[Moment], times: np.ndarray, sh: np.ndarray, record: dict) -> None:
        """Write one frame after the other the bytes that `save` writes of the whole, so that no clip need be held.

        times (T,), sh (N, K, 3) and record as in the fields. Raises ContractError where one of the T frames breaks the
        contract, ValueError where there are more or fewer.
        """
        check_axes("Sequence", {"times": "float64 T", "sh": "float32 N K 3"}, {"times": times, "sh": sh})
        check_finite("Sequence", {"times": times, "sh": sh})
        spec = {"means": "float32 N 3", "quats": "float32 N 4", "log_scales": "float32 N 3"}
        spec |= {"opacity_logits": "float32 N", "present": "bool N", "sh": "float32 N K 3"}
        count, frame_count = len(sh), len(times)
        shapes = {"means": (count, 3), "quats": (count, 4), "log_scales": (count, 3)}
        shapes |= {"opacity_logits": (count,), "present": (count,)}
        whole = {name: ("BOOL" if name == "present" else "F32", (frame_count, *one)) for name, one in shapes.items()}
        places, header = _tensor_header(whole | {"sh": ("F32", sh.shape), "times": ("F64", times.shape)}, record)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            file.write(header)

            def put(name: str, array: np.ndarray, index: int = 0) -> None:
                file.seek(places[name] + index * array.nbytes)
                file.write(np.ascontiguousarray(array).tobytes())

            put("times", times)
            put("sh", sh)
            for index, frame in zip(range(frame_count), frames, strict=True):
                owner = f"frame {index} of Sequence"
                check_axes(owner, spec, {**frame, "sh": sh})
                check_finite(owner, {name: frame[name] for name in MOVING})
                for name in shapes:
                    put(name, frame[name], index)

    @classmethod
    def load(cls, path: Path, on_disk: bool = False) -> Sequence:
        """The contents of a file after a look at all of them; `on_disk` leaves there what changes with time (OnDisk).

        Raises ContractError that names the file and what to type.
        """
        arrays, record = load_tensors(path, (*MOVING, "present") if on_disk else ())
        missing = {f.name for f in fields(cls)} - set(arrays) - {"record"}
        if missing:
            raise ContractError(f"{path} lacks {sorted(missing)}; expected a Sequence.")
        loaded = cls(**arrays, record=record)
        try:
            loaded.check()
        except ContractError as error:
            raise ContractError(f"{path}: {error} Delete it and run the same command again to bake it anew.") from None
        return loaded

    def at(self, times: np.ndarray) -> Sequence:
        """The frames at the given times (F,), in their order: those of the input, without frames between them.

        Raises ContractError where no frame is within TIME_TOLERANCE of a time.
        """
        nearest = np.abs(self.times[None] - times[:, None]).argmin(axis=1)
        away = np.abs(self.times[nearest] - times)
        if away.max() > TIME_TOLERANCE:
            raise ContractError(
                f"the sequence has {len(self.times)} frames, the input {len(times)}, and none at time "
                f"{times[away.argmax()]:.4f}; expected the same clip. Delete the sequence to have it baked again."
            )
        chosen = {name: getattr(self, name)[nearest] for name in (*MOVING, "present", "times")}
        return Sequence(**chosen, sh=self.sh, record=self.record)

    def frame(self, index: int) -> Gaussians:
        """The gaussians present in one frame."""
        chosen = self.present[index]
        return Gaussians(
            self.means[index][chosen],
            self.quats[index][chosen],
            self.log_scales[index][chosen],
            self.opacity_logits[index][chosen],
            self.sh[chosen],
        )
