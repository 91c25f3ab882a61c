"""The bytes of a LiteRT file: as small as the format allows, with its labels in it."""

import json
from types import ModuleType
from typing import Any

import numpy as np

INPUT, OUTPUT = "images", "probabilities"
METADATA = "eyas"  # what the file's own metadata of Eyas is called
KEPT = (b"min_runtime_version",)  # of the converter's metadata: which runtimes can open the file
ALIGNED = 16  # bytes; the schema wants it of all weights
IDENTIFIER = b"TFL3"


def packed(content: bytes, labels: dict[str, str], schema: ModuleType) -> bytes:
    """A file labelled for whoever finds it alone, and without the converter's notes.

    The notes (a name for every tensor, versions of packages, a row of zeros for each row of scales) would be a tenth of a
    small int8 file. Input and output are named, and the metadata "eyas" holds the labels as JSON.

    Args:
        content: a LiteRT file.
        labels: what it is to be told.
        schema: `ai_edge_litert.schema_py_generated`.
    """
    import flatbuffers

    model = schema.ModelT.InitFromPackedBuf(content)
    vectors: dict[tuple[int, bytes], int] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.name = None
            if tensor.quantization is not None:
                tensor.quantization = _scales(tensor.quantization, schema, vectors)
        graph.tensors[graph.inputs[0]].name, graph.tensors[graph.outputs[0]].name = INPUT, OUTPUT
    signature = model.signatureDefs[0]
    signature.inputs[0].name, signature.outputs[0].name = INPUT, OUTPUT
    told = schema.BufferT()
    told.data = json.dumps(labels).encode()
    about = schema.MetadataT()
    about.name, about.buffer = METADATA, len(model.buffers)
    model.metadata = [*(each for each in model.metadata or () if each.name in KEPT), about]
    model.buffers = [_aligned(_data(buffer, content), schema) for buffer in (*model.buffers, told)]
    model.description = METADATA
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def labels(content: bytes, schema: ModuleType) -> dict[str, str] | None:
    """What `packed` told a file; None where it is of somebody else."""
    model = schema.ModelT.InitFromPackedBuf(content)
    for each in model.metadata or ():
        if each.name == METADATA.encode():
            return json.loads(bytes(model.buffers[each.buffer].data))
    return None


def _data(buffer: Any, content: bytes) -> bytes | None:
    """What a buffer holds, which the quantizer may have put behind all the rest; None where it holds nothing."""
    if buffer.size:
        return content[buffer.offset : buffer.offset + buffer.size]
    return None if buffer.data is None else bytes(buffer.data)


def _aligned(data: bytes | None, schema: ModuleType) -> Any:
    """A buffer that is written where its content can be read in place; the generated code does not see to that."""

    class Aligned(schema.BufferT):
        def Pack(self, builder: Any) -> int:  # noqa: N802 - as the generated code calls it
            at = None if self.data is None else _vector(builder, self.data, 1, ALIGNED)
            schema.BufferStart(builder)
            if at is not None:
                schema.BufferAddData(builder, at)
            return schema.BufferEnd(builder)

    made = Aligned()
    made.data = data
    return made


def _scales(found: Any, schema: ModuleType, vectors: dict[tuple[int, bytes], int]) -> Any:
    """Scales and zero points; equal rows, such as the zeros of all weights with as many channels, are written once.

    Args:
        found: as the file has them.
        schema: the generated code.
        vectors: where a row lies, by the size of its numbers and its bytes; of one file.
    """

    def placed(builder: Any, values: Any, kind: type[np.number]) -> int:
        row = np.asarray(values, kind)
        key = row.itemsize, row.tobytes()
        if key not in vectors:
            vectors[key] = _vector(builder, row.tobytes(), row.itemsize, row.itemsize)
        return vectors[key]

    class Scales(schema.QuantizationParametersT):
        def Pack(self, builder: Any) -> int:  # noqa: N802 - as the generated code calls it
            scale = None if self.scale is None else placed(builder, self.scale, np.float32)
            zero = None if self.zeroPoint is None else placed(builder, self.zeroPoint, np.int64)
            schema.QuantizationParametersStart(builder)
            if scale is not None:
                schema.QuantizationParametersAddScale(builder, scale)
            if zero is not None:
                schema.QuantizationParametersAddZeroPoint(builder, zero)
            schema.QuantizationParametersAddQuantizedDimension(builder, self.quantizedDimension)
            return schema.QuantizationParametersEnd(builder)

    made = Scales()
    made.scale, made.zeroPoint, made.quantizedDimension = found.scale, found.zeroPoint, found.quantizedDimension
    return made


def _vector(builder: Any, raw: bytes, item: int, aligned: int) -> int:
    """Numbers of `item` bytes each, written at an address that is a multiple of `aligned`."""
    count = len(raw) // item
    builder.StartVector(item, count, aligned)
    builder.head -= len(raw)
    builder.Bytes[builder.head : builder.head + len(raw)] = raw
    return builder.EndVector()
