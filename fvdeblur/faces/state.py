"""The state of a tracker as plain values for JSON, from which it goes on as if it had never been stopped."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

State = dict[str, Any]


def pack(array: NDArray[Any] | None) -> State | None:
    """An array of numbers, to the last bit."""
    if array is None:
        return None
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": data}


def unpack(packed: State | None) -> Any:
    """What was packed, writable.

    Raises
    ------
    ValueError, KeyError, TypeError
        It is no array of numbers.
    """
    if packed is None:
        return None
    dtype = np.dtype(packed["dtype"])
    if dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype} holds no numbers")
    data = base64.b64decode(packed["data"], validate=True)
    return np.frombuffer(data, dtype).reshape(packed["shape"]).copy()
