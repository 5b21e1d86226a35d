"""A function of tensors as an ONNX file, by torch's own exporter, compared with the system through ONNX Runtime."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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


def require_onnx(opset: int) -> None:
    """Raise ValueError, with what to do, where a package that ONNX needs is missing, or does not know operator set `opset`."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        remedy = "run pip install -e '.[export]' in the checkout, or give --format transformers"
        raise ValueError(f"--format onnx needs {' and '.join(missing)}: {remedy}")
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise ValueError(f"--opset {opset}: torch's exporter and the installed onnx write {OLDEST_OPSET} to {newest}")


def write_graph(graph: Graph, path: Path, opset: int) -> float:
    """Write `graph` to `path`; returns the greatest difference between ONNX Runtime's vectors and the system's.

    Raises:
        ValueError: torch cannot express it in this operator set, or the difference is above the tolerance.
    """
    trace(graph, path, opset)
    return check(graph, path)


def trace(graph: Graph, path: Path, opset: int) -> None:
    """Write `graph` to `path` as an ONNX model of operator set `opset`. Raises ValueError where torch cannot."""
    size = sum(value.numel() * value.element_size() for value in graph.module.state_dict().values())
    try:
        with _quiet():
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
        cause = str(error.__cause__ or error).strip().partition("\n")[0]
        raise ValueError(f"{path.name}: torch {torch.__version__} cannot write it in opset {opset}: {cause}; nothing was written") from error
    assert program is not None
    written = program.model.opset_imports[""]
    if written != opset:
        raise ValueError(f"--opset {opset}: {path.name} can be written in opset {written} alone with the installed onnxscript")
    _keep_padding_from_pooling(program.model)
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # where in the sources each came from: paths of this machine, a third of the file
    program.save(path, external_data=size > ONE_FILE)


@torch.no_grad()
def check(graph: Graph, path: Path) -> float:
    """The greatest difference between ONNX Runtime's vectors for the model in `path` and the system's. Raises ValueError above the tolerance."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base class of their own
        raise ValueError(f"{path.name}: ONNX Runtime {onnxruntime.__version__} cannot load it: {error}; give an older --opset") from error

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in graph.batches:
            given = {name: value.numpy() for name, value in zip(graph.axes, batch)}
            yield graph.ours(*batch), torch.from_numpy(session.run(["vectors"], given)[0])

    return require_agreement(path.name, pairs())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, such as one for each package that is not installed: what matters is raised or compared."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels):
            log.setLevel(level)


def _keep_padding_from_pooling(model: Any) -> None:
    """Make zeros that are padded before a max pooling the smallest normal number.

    ONNX Runtime (1.31) merges such zeros into the pooling, whose own padding is minus infinity; where all real values of a window are negative
    the result then differs. BiT's stem is such a case. It leaves other numbers alone.
    """
    import onnx_ir

    tiny = onnx_ir.tensor(np.finfo(np.float32).tiny, name="smallest_normal_number")
    smallest = onnx_ir.Value(name=tiny.name, const_value=tiny, type=onnx_ir.TensorType(tiny.dtype), shape=onnx_ir.Shape(()))
    for node in model.graph:
        # Without its third input a padding is none of a constant.
        if node.op_type == "Pad" and len(node.inputs) == 3 and any(use.node.op_type == "MaxPool" for use in node.outputs[0].uses()):
            former = node.inputs[2]
            if former.const_value is not None and former.const_value.numpy() == 0:
                model.graph.initializers.add(smallest)
                node.replace_input_with(2, smallest)
                if not former.uses():
                    model.graph.initializers.pop(former.name, None)
