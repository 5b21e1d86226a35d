"""A function of tensors as an ONNX file, by torch's own exporter, compared with the system through ONNX Runtime."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.exporting.agreement import require_agreement
from pipeline.exporting.forms import Graph

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OLDEST_OPSET = 18
"""torch's exporter writes no older one; it is what most programs read, too."""
ONE_FILE = 1_800_000_000
"""Bytes of weights that one ONNX file may hold (a protobuf message ends at 2 GB); more go into a file beside it."""


def require_packages() -> None:
    """Raise ValueError, with what to do, where a package that ONNX needs is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--format onnx needs {' and '.join(missing)}: run pip install -e '.[export]' in the checkout, or give --format transformers"
        )


def write_graph(graph: Graph, path: Path, opset: int) -> float:
    """Write `graph` to `path`; returns the greatest difference between ONNX Runtime's vectors and the system's.

    Raises:
        ValueError: torch cannot express it in this opset, or the difference is above the tolerance.
    """
    trace(graph, path, opset)
    return check(graph, path)


def trace(graph: Graph, path: Path, opset: int) -> None:
    """Write `graph` to `path` as an ONNX model of operator set `opset`. Raises ValueError where torch cannot."""
    size = sum(value.numel() * value.element_size() for value in graph.module.state_dict().values())
    log = logging.getLogger("torch.onnx")
    level = log.level
    try:
        log.setLevel(logging.ERROR)  # it tells of every package that is not installed; what matters is raised or compared
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph.module,
                graph.batches[0],
                input_names=list(graph.axes),
                output_names=["vectors"],
                dynamic_shapes=tuple(graph.axes.values()),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except RuntimeError as error:  # torch.onnx.errors.OnnxExporterError
        raise ValueError(f"{path.name}: torch {torch.__version__} cannot write it as ONNX: {str(error).strip().splitlines()[0]}") from error
    finally:
        log.setLevel(level)
    assert program is not None
    written = program.model.opset_imports[""]
    if written != opset:
        raise ValueError(f"--opset {opset}: {path.name} can be written in opset {written} alone with the installed onnxscript")
    _keep_padding_from_pooling(program.model)
    program.save(path, external_data=size > ONE_FILE)


@torch.no_grad()
def check(graph: Graph, path: Path) -> float:
    """The greatest difference between ONNX Runtime's vectors for the model in `path` and the system's. Raises ValueError above the tolerance."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in graph.batches:
            given = {name: value.numpy() for name, value in zip(graph.axes, batch)}
            yield graph.ours(*batch), torch.from_numpy(session.run(["vectors"], given)[0])

    return require_agreement(path.name, pairs())


def _keep_padding_from_pooling(model: Any) -> None:
    """Make zeros that are padded before a max pooling the smallest normal number.

    ONNX Runtime (1.31) merges such zeros into the pooling, whose own padding is minus infinity; where all real values of a window are negative
    the result then differs. BiT's stem is such a case. It leaves other numbers alone.
    """
    import onnx_ir

    tiny = np.array(np.finfo(np.float32).tiny, dtype=np.float32)
    smallest = onnx_ir.Value(name="smallest_normal_number", const_value=onnx_ir.tensor(tiny), type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT))
    smallest.shape = onnx_ir.Shape(())
    for node in model.graph:
        if (
            node.op_type == "Pad"
            and node.attributes.get_string("mode", "constant") == "constant"
            and any(use.node.op_type == "MaxPool" for use in node.outputs[0].uses())
        ):
            value = node.inputs[2] if len(node.inputs) > 2 else None
            if value is None or (value.const_value is not None and value.const_value.numpy() == 0):
                model.graph.initializers.add(smallest)
                node.resize_inputs(max(3, len(node.inputs)))
                node.replace_input_with(2, smallest)
