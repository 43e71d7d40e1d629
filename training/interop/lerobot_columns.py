"""Arrays as parquet columns, and the notes that Hugging Face's `datasets` and pandas expect beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pyarrow as pa

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def arrow_column(values: Any) -> pa.Array:
    """(T,), (T, 1) -> numbers; (T, n) -> fixed lists; (T, ...) -> nested lists; encoded pictures -> structs."""
    if isinstance(values, list):
        return pa.array(cast(list[Any], values), IMAGE)
    array = np.ascontiguousarray(values)
    flat = pa.array(array.reshape(-1))
    shape = array.shape[1:]
    if shape in ((), (1,)):
        return flat
    if len(shape) == 1:
        return pa.FixedSizeListArray.from_arrays(flat, shape[0])
    nested: pa.Array = flat
    for size in reversed(shape):
        offsets = pa.array(np.arange(0, len(nested) + 1, size, dtype=np.int32))
        nested = pa.ListArray.from_arrays(offsets, nested)
    return nested


def huggingface_metadata(features: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Types of the columns as `datasets` reads them from a parquet file's schema."""
    described = {name: _described(feature) for name, feature in features.items() if feature["dtype"] != "video"}
    return {"huggingface": json.dumps({"info": {"features": described}})}


def pandas_index_metadata() -> dict[str, str]:
    """Says that the tasks' texts are the table's index, as LeRobot expects."""
    columns = [{"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64",
                "metadata": None},
               {"name": None, "field_name": "__index_level_0__", "pandas_type": "unicode", "numpy_type": "object",
                "metadata": None}]
    names = [{"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}]
    return {"pandas": json.dumps({"index_columns": ["__index_level_0__"], "column_indexes": names,
                                  "columns": columns})}


def _described(feature: Mapping[str, Any]) -> dict[str, Any]:
    dtype, shape = feature["dtype"], list(feature["shape"])
    if dtype == "image":
        return {"_type": "Image"}
    if shape == [1]:
        return {"dtype": dtype, "_type": "Value"}
    if len(shape) == 1:
        return {"feature": {"dtype": dtype, "_type": "Value"}, "length": shape[0], "_type": "Sequence"}
    return {"shape": shape, "dtype": dtype, "_type": f"Array{len(shape)}D"}
