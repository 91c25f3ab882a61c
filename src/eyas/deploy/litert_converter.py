"""Makes LiteRT files. Run by path in the converter's own environment (eyas.deploy.environment); imports nothing of Eyas.

    python litert_converter.py convert PROGRAM.pt2 FLOAT.tflite
    python litert_converter.py quantize FLOAT.tflite JOB.json INT8.tflite

`convert` takes a program of torch.export and names the file's tensors after the modules that they come from: `a.conv;`,
several of them where the converter made one operation of several. `quantize` rounds the weights of convolutions with one
scale a channel, and their inputs and outputs to the ranges in the job: `{"ranges": {tensor: [low, high]}, "floats":
[module, ...]}`. What carries the name of a module in `floats` stays as it is, and so does everything inside it.
"""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

# What is computed in eight bits: what holds weights, and what lies between in a network that has nothing else. Gates and
# the softmax stay float; the classifier has eight-bit weights and answers in float, as rounded scores of many classes tie.
INTEGER = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "PAD", "PADV2", "MAX_POOL_2D", "MEAN", "TRANSPOSE", "RELU")
WEIGHTS_ONLY = "FULLY_CONNECTED"


def convert(program: Path, target: Path) -> None:
    """A program of torch.export as a LiteRT file in float32."""
    import torch

    litert_torch = import_module("litert_torch")
    loaded = torch.export.load(program)
    module = loaded.module(check_guards=False)
    for node in module.graph.nodes:
        if stack := node.meta.get("nn_module_stack"):
            path = list(stack.values())[-1][0]
            node.meta["nn_module_stack"] = {path: ("", path)}
    assert loaded.example_inputs is not None  # a program always keeps what it was traced with
    litert_torch.convert(module, loaded.example_inputs[0]).export(str(target))


def quantize(source: Path, job: Path, target: Path) -> None:
    """A LiteRT file in float32 as one in int8."""
    quantizer = import_module("ai_edge_quantizer.quantizer")
    names = import_module("ai_edge_quantizer.qtyping").TFLOperationName
    interpreters = import_module("ai_edge_quantizer.utils.tfl_interpreter_utils")
    asked = json.loads(job.read_text())
    work = quantizer.Quantizer(str(source))
    for kind in INTEGER:
        work.add_static_config(".*", names(kind), activation_num_bits=8, weight_num_bits=8)
    work.add_dynamic_config(".*", names(WEIGHTS_ONLY), num_bits=8)
    for module in asked["floats"]:
        work.update_quantization_recipe(
            rf"(^|;){re.escape(module)}(\.|;|$)", names.ALL_SUPPORTED, algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE
        )
    # One image to learn which tensors need a range and those of the weights by channel; the ranges of the rest are given.
    data = interpreters.create_random_normal_input_data(source.read_bytes(), num_samples=1)
    ranges = work.calibrate(data, num_threads=1)
    for tensor, found in ranges.items():
        if tensor in asked["ranges"] and found and found["min"].size == 1:
            low, high = asked["ranges"][tensor]
            found["min"][...], found["max"][...] = low, high
    made = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    target.write_bytes(made.quantized_model)


if __name__ == "__main__":
    {"convert": convert, "quantize": quantize}[sys.argv[1]](*map(Path, sys.argv[2:]))
