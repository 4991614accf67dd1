"""Components of a network in diffusers' folder layout: one folder each, read by the class that we expect there.

Nothing is fetched and no code of the folder runs: a folder's own word for its class is not asked for. The *variant* is
a part of the files' names, as in `model.fp16.safetensors`.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

# What the libraries raise at a file that is cut, empty, of another shape, or would run code.
UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    SafetensorError,
    pickle.UnpicklingError,
)


class ModelError(RuntimeError):
    """A folder or request that is not the network it should be; the text says what was found, expected and to type."""


def component(
    place: Path, kind: type, dtype: torch.dtype, variant: str | None = None, safetensors: bool | None = None
) -> nn.Module:
    """The frozen network of class `kind` in the folder `place`.

    safetensors: True reads no other format, None prefers it and reads others by torch's weights_only loader. Raises
    ModelError: a folder that is missing, unreadable or lacks weights.
    """
    try:
        network, about = kind.from_pretrained(
            place,
            torch_dtype=dtype,
            variant=variant,
            local_files_only=True,
            output_loading_info=True,
            use_safetensors=safetensors,
        )
        # The libraries only warn of these, and leave random numbers in their place.
        if about["missing_keys"]:
            raise ValueError(f"it lacks the weights {', '.join(sorted(about['missing_keys'])[:3])}, ...")
    except UNREADABLE as error:
        raise _unreadable(place, kind, error) from None
    return network.eval().requires_grad_(False)


def configuration(path: Path, layout: str) -> dict:
    """The JSON object in the file `path`; raises ModelError, which says the folder's `layout` when it is missing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; expected {layout}. Fetch the folder again, or copy it whole.") from None
    except ValueError as error:
        raise ModelError(f"{path} is not JSON ({error}); expected a configuration. Fetch the folder again.") from None
    if not isinstance(content, dict):
        raise ModelError(
            f"{path} holds a JSON {type(content).__name__}; expected a configuration by name. Fetch the folder again."
        )
    return content


def preparation(place: Path, kind: type) -> Any:
    """The tokenizer, image processor or scheduler of class `kind` in the folder `place`; raises ModelError."""
    try:
        if not place.is_dir():
            raise OSError("the folder is missing.")
        return kind.from_pretrained(place, local_files_only=True)
    # A cut vocabulary raises a bare Exception: tokenizers has nothing narrower.
    except Exception as error:
        raise _unreadable(place, kind, error) from None


def _unreadable(place: Path, kind: type, error: Exception) -> ModelError:
    first = (str(error).strip().splitlines() or [repr(error)])[0]
    return ModelError(f"{place} cannot be read as {kind.__name__}: {first} Fetch this folder again, or copy it whole.")


def check_widths(folder: Path, widths: dict[str, tuple[int, int]], network: str, setting: str) -> None:
    """Raise ModelError for the first of `widths`, name to the value found and the one that fits, where the two differ.

    network, setting: what the folder should be, and which setting names it.
    """
    for name, (found, expected) in widths.items():
        if found != expected:
            raise ModelError(
                f"{folder}: {name} is {found}, expected {expected} to fit the other components. This is no {network}; "
                f"name one in {setting}."
            )
