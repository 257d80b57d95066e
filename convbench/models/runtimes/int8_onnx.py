"""Quantise an ONNX file to eight bits with ONNX Runtime's quantiser."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from convbench.core.errors import CaseFailed, Impossible
from convbench.models.deployment import ASIDE, Quantisation
from convbench.models.runtimes.export_error import reason
from convbench.models.runtimes.quiet import quiet

DYNAMIC = ("MatMul", "Gemm", "LSTM")
STATIC = ("Conv", "MatMul", "Gemm")
QUANTISED_OPERATORS = frozenset({
    "DynamicQuantizeLSTM", "MatMulInteger", "DynamicQuantizeMatMul", "ConvInteger", "QuantizeLinear",
})  # fmt: skip


def quantise(path: Path, quantisation: Quantisation, names: Sequence[str]) -> None:
    """Replace a file by its quantised form: dynamic (LSTM, matrices), or static with ranges (convolutions, matrices).

    Raises Impossible if nothing in it could be quantised, so that nobody takes float32 for int8.
    """
    import onnx

    try:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            model = _fold_constants(path, f"{folder}/folded.onnx")
            for file in path.parent.iterdir():
                if file.name != ASIDE:
                    file.unlink()
            (_dynamic if quantisation.method == "dynamic" else _static)(model, path, quantisation, names)
    except Exception as error:
        raise CaseFailed("error", f"ONNX Runtime cannot quantise the exported model: {reason(error)}") from error
    kinds = {node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node}
    if not kinds & QUANTISED_OPERATORS:
        operators = ", ".join(DYNAMIC if quantisation.method == "dynamic" else STATIC)
        raise Impossible(f"the model has nothing that ONNX Runtime quantises ({quantisation.method}: {operators})")


def _fold_constants(path: Path, target: str) -> Any:
    """Return the model with constants in place of weights that exporters left as results of nodes.

    The quantiser only quantises constant weights.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = target
    options.log_severity_level = 3
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(target)


def _dynamic(model: Any, path: Path, _: Quantisation, __: Sequence[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    _separate_weights(model)
    quantize_dynamic(model, path, op_types_to_quantize=list(DYNAMIC), weight_type=QuantType.QInt8)


def _separate_weights(model: Any) -> None:
    """Give each LSTM of a file weights of its own, such as the calls of one layer on two clips, which share them.

    The quantiser transposes the weights once for each LSTM that has them, so that the second would compute nonsense.
    """
    by_name = {weight.name: weight for weight in model.graph.initializer}
    used_names: set[str] = set()
    for node in (node for node in model.graph.node if node.op_type == "LSTM"):
        for place in (1, 2):  # of the input's weights and of the state's
            if node.input[place] in used_names & by_name.keys():
                copy = model.graph.initializer.add()
                copy.CopyFrom(by_name[node.input[place]])
                copy.name = node.input[place] = f"{copy.name}_{len(model.graph.initializer)}"
            used_names.add(node.input[place])


def _static(model: Any, path: Path, quantisation: Quantisation, names: Sequence[str]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """An iterator over the calibration calls in the form that the quantiser expects."""

        def __init__(self) -> None:
            self.feeds: Iterator[Mapping[str, Any]] = (
                {name: tensor.numpy(force=True) for name, tensor in zip(names, row, strict=True)}
                for row in quantisation.rows
            )

        def get_next(self) -> Mapping[str, Any] | None:
            return next(self.feeds, None)

    quantize_static(
        model, path, Reader(), quant_format=QuantFormat.QDQ, op_types_to_quantize=list(STATIC),
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
