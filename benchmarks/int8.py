"""Ways of making an int8 file of EfficientNet-Lite0, by how often it gives the float32 file's answer.

    python benchmarks/int8.py [--case NAME] [--json] [--out benchmarks/results]

The network is the published one at 128 px with its 1,000 ImageNet classes; asked about photographs of solar cells (ELPV)
most of its answers are close calls, so that a small error shows. 128 photographs of the training split choose the ranges,
400 of the test split are asked. Nothing is timed: the figures do not depend on what else the machine does.

The bias correction is what Eyas ships, made by its own functions; they also leave out zero points that are all zero. The
other ways are onnxruntime's quantizer on the same graph and kinds of nodes. Its entropy has 128 bins for 128 steps unless
told otherwise, which leaves nothing to choose (the ranges are MinMax's), and here 1,024.
"""

import argparse
import copy
import json
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
    save_tensors_data,
)
from onnxruntime.quantization.calibrate import create_calibrator
from torch import nn

from eyas.arch.parse import parse
from eyas.data.augment import prepare
from eyas.data.batches import three_channels
from eyas.data.builtin import elpv
from eyas.data.manifest import Manifest, Split
from eyas.data.store import build as store
from eyas.deploy.measure import machine
from eyas.deploy.onnx import BATCH, INPUT, exported, packed, quiet, session
from eyas.deploy.quantize import INTEGER, quantized
from eyas.deploy.shipment import Images, Shipment
from eyas.nn.build import build
from eyas.nn.published import installed, load
from eyas.run import write_json
from eyas.studies.prepare import side_of
from eyas.studies.proof import accuracy

ARCH = "efficientnet_lite0@128"
CALIBRATION, ASKED = 128, 400
CLASSES = tuple(str(number) for number in range(1000))
SHIPPED = "per channel MinMax + bias correction"
# One scale a channel or a tensor, how the ranges of activations are found, and the calibrator's options.
WAYS: dict[str, tuple[bool, CalibrationMethod, dict[str, float]]] = {
    "per tensor MinMax": (False, CalibrationMethod.MinMax, {}),
    "per channel MinMax": (True, CalibrationMethod.MinMax, {}),
    "per channel percentile": (True, CalibrationMethod.Percentile, {"num_bins": 2048, "percentile": 99.999}),
    "per channel entropy": (True, CalibrationMethod.Entropy, {"num_bins": 1024, "num_quantized_bins": 128}),
}
CASES = (*WAYS, SHIPPED)


class Reader(CalibrationDataReader):
    """The images as the quantizer asks for them."""

    def __init__(self, images: Images) -> None:
        self.batches = ({INPUT: images[start : start + BATCH]} for start in range(0, len(images), BATCH))

    def get_next(self) -> dict[str, np.ndarray]:
        return next(self.batches, {})


def photographs(split: Split, count: int, resolution: int, scratch: Path) -> Images:
    """`count` photographs of a split, evenly from all, prepared as every study prepares them."""
    rows: Manifest = elpv().where(split=split)
    chosen = np.isin(np.arange(len(rows)), np.linspace(0, len(rows) - 1, count).round().astype(int))
    images = store(rows.where(chosen), scratch / split, side_of(resolution)).store
    return np.stack([three_channels(prepare(images[i], resolution)) for i in range(len(images))])


def shipment() -> Shipment:
    arch = parse(ARCH)
    network = build(arch, nn.Linear(arch.features, len(CLASSES)))
    load(network, installed(arch))
    return Shipment(network, ARCH, CLASSES, arch.resolution)


def by_onnxruntime(case: str, graph: onnx.ModelProto, images: Images, scratch: Path) -> onnx.ModelProto:
    per_channel, method, options = WAYS[case]
    source, ranges, target = (scratch / name for name in ("float.onnx", "ranges.json", "int8.onnx"))
    ranges.unlink(missing_ok=True)
    onnx.save(graph, source)
    # In two steps: the quantizer itself would not hand the number of bins on.
    with quiet():
        probe = str(scratch / "probe.onnx")
        calibrator = create_calibrator(source, INTEGER, probe, method, extra_options=options)
        calibrator.collect_data(Reader(images))
        save_tensors_data(calibrator.compute_data(), ranges)
        quantize_static(
            graph,
            target,
            calibration_cache_path=ranges,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(INTEGER),
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=method,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
    return onnx.load(target)


def answers(file: Path, images: Images) -> np.ndarray:
    predict = session(file, threads=1)
    return np.concatenate([predict(images[start : start + BATCH]).argmax(1) for start in range(0, len(images), BATCH)])


def compare(cases: tuple[str, ...], scratch: Path) -> list[dict[str, Any]]:
    resolution = parse(ARCH).resolution
    calibration = photographs("train", CALIBRATION, resolution, scratch)
    asked = photographs("test", ASKED, resolution, scratch)
    ships = shipment()
    graph = exported(ships)

    def saved(model: onnx.ModelProto) -> Path:
        file = scratch / "model.onnx"
        file.write_bytes(packed(model, ships.labels()))
        return file

    file = saved(copy.deepcopy(graph))
    expected, peer_bytes = answers(file, asked), file.stat().st_size
    rows = []
    for case in cases:
        own = copy.deepcopy(graph)  # both change what they are given
        file = saved(quantized(own, calibration) if case == SHIPPED else by_onnxruntime(case, own, calibration, scratch))
        agreement = accuracy(answers(file, asked) == expected)
        rows.append(
            {
                "case": case,
                "peer": "float32 file",
                "peer_value": 1.0,
                "eyas_value": round(agreement.value, 4),
                "unit": "share of equal top-1 answers",
                "ratio": round(agreement.value, 4),
                "low": round(agreement.low, 4),
                "high": round(agreement.high, 4),
                "images": agreement.images,
                "bytes": file.stat().st_size,
                "peer_bytes": peer_bytes,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    given = parser.parse_args()
    with TemporaryDirectory() as scratch:
        found = compare((given.case,) if given.case else CASES, Path(scratch))
    for row in found:
        if given.json:
            print(json.dumps(row))
        else:
            share = f"{row['ratio']:6.1%} ({row['low']:.1%} to {row['high']:.1%})"
            print(f"{row['case']:38s} {share} of {row['images']} answers of the {row['peer']}, {row['bytes']:,} bytes")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "int8.json", {"date": str(date.today()), "machine": machine(), "rows": found})


if __name__ == "__main__":
    main()
