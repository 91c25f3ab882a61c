"""What the papers print, against what is computed from the architectures' values. The figures and sources: facts.json.

A figure must agree with the count to as many units of its last printed digit as its table states (`within`). Where a
source prints something else, facts.json lists it under `differences`, with the count and the reason: then the count must
be ours and the printed figure must not be.
"""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from eyas.arch.cost import breakdown, cost, type_of
from eyas.arch.layer import Activation, Block, Layer
from eyas.arch.ops import mbconv, separable
from eyas.arch.parse import parse
from eyas.arch.scale import ALPHA, BETA, GAMMA, at, wider
from eyas.arch.spec import Arch, Stage, blocks, layers, scaled_stages
from eyas.arch.tables import ARCHS, EFFICIENTNET_B0, EFFICIENTNET_LITES, MOBILENET_V1, MOBILENET_V2

FACTS: dict[str, Any] = json.loads((Path(__file__).parent / "facts.json").read_text())
DIFFERENCES = {(row["table"], row["row"], row["column"]): row for row in FACTS["differences"]["rows"]}

# What a column of facts.json says of the architecture in its row, for that many classes.
QUANTITIES: dict[str, Callable[[Arch, int], float | None]] = {
    "madds": lambda arch, classes: cost(arch, classes).madds,
    "params": lambda arch, classes: cost(arch, classes).params,
    "weights": lambda arch, classes: cost(arch, classes).weights,
    "params of body": lambda arch, _: cost(arch, 0).params,
    "blocks": lambda arch, _: sum(len(block.layers) > 1 for block in blocks(arch)),
    "bottlenecks": lambda arch, _: sum(len(block.layers) > 1 for block in blocks(arch)),
    "top1": lambda arch, _: arch.top1,
    "resolution": lambda arch, _: arch.resolution,
    "dropout": lambda arch, _: arch.dropout,
    "width": lambda arch, _: arch.coefficients[0],
    "depth": lambda arch, _: arch.coefficients[1],
    "phi of depth": lambda arch, _: math.log(arch.coefficients[1], ALPHA),
    "phi of width": lambda arch, _: math.log(arch.coefficients[0], BETA),
    "phi of resolution": lambda arch, _: math.log(arch.resolution / 224, GAMMA),
}
UNITS = {" M": 1e6, " B": 1e9}


def expected(table: str) -> list[dict[str, Any]]:
    """The printed rows by column, with the misprints set right."""
    rows = [dict(zip(FACTS[table]["columns"], row, strict=True)) for row in FACTS[table]["rows"]]
    for (name, index, column), difference in DIFFERENCES.items():
        if name == table:
            rows[index][column] = difference["computed"]
    return rows


def digit(figure: float) -> float:
    """One unit of the last digit that is printed: 0.1 for 6.0, 1 for 26."""
    return 10.0 ** int(Decimal(repr(figure)).as_tuple().exponent)


def counted(column: str, arch: Arch, classes: int) -> float | None:
    """Our figure for a column, in the column's unit; `None` for a column that is not ours to count."""
    name = column.removeprefix("counted ").removesuffix(" M").removesuffix(" B")
    if name not in QUANTITIES:
        return None
    figure = QUANTITIES[name](arch, classes)
    return None if figure is None else figure / UNITS.get(column[-2:], 1)


def figures() -> list[Any]:
    """Every printed figure that is counted here: table, index of the row, column."""
    found: list[Any] = []
    for table, fact in FACTS.items():
        for index, row in enumerate(fact["rows"] if "arch" in fact.get("columns", ()) else ()):
            cells = dict(zip(fact["columns"], row, strict=True))
            for column, printed in cells.items():
                if cells["arch"] and printed is not None and counted(column, MOBILENET_V1, 1) is not None:
                    found.append(pytest.param(table, index, column, id=f"{table}-{index}-{column}-{cells['arch']}"))
    return found


@pytest.mark.parametrize(("table", "index", "column"), figures())
def test_figure(table: str, index: int, column: str) -> None:
    fact = FACTS[table]
    row = dict(zip(fact["columns"], fact["rows"][index], strict=True))
    printed = row[column]
    ours = counted(column, parse(row["arch"]), row.get("classes", fact.get("classes", 1000)))
    units = 0.5 if column.startswith("counted ") else fact["within"]
    if (table, index, column) in DIFFERENCES:
        computed = DIFFERENCES[table, index, column]["computed"]
        assert ours == pytest.approx(computed, abs=0.5 * digit(computed))
        assert ours != pytest.approx(printed, abs=units * digit(printed))
    else:
        assert ours == pytest.approx(printed, abs=units * digit(printed))


class TestDifferences:
    @pytest.mark.parametrize("difference", DIFFERENCES.values(), ids=lambda row: f"{row['paper']}, {row['place']}")
    def test_is_of_a_printed_figure_and_says_why(self, difference: dict[str, Any]) -> None:
        fact = FACTS[difference["table"]]
        row = dict(zip(fact["columns"], fact["rows"][difference["row"]], strict=True))
        assert row[difference["column"]] == difference["printed"] != difference["computed"]
        assert all(difference[field] for field in ("paper", "place", "why"))

    def test_are_listed_once(self) -> None:
        assert len(DIFFERENCES) == len(FACTS["differences"]["rows"])

    def test_mobilenet_table_1_as_misprinted_has_neither_the_papers_map_nor_its_madds(self) -> None:
        *rows, last = MOBILENET_V1.stages
        printed = replace(MOBILENET_V1, stages=(*rows, replace(last, repeat=1), Stage(separable, 3, 2, 1024)))
        assert blocks(printed)[-1].output_size == 4
        assert cost(printed).madds == 533_833_216
        assert blocks(MOBILENET_V1)[-1].output_size == 7

    @pytest.mark.parametrize(("resolution", "printed"), [(224, 45), (128, 15)])
    def test_mobilenet_table_12_fits_a_wider_first_layer(self, resolution: int, printed: int) -> None:
        stem, *rows = wider(MOBILENET_V1, 0.25).stages
        widened = replace(MOBILENET_V1, width=0.25, stages=(replace(stem, channels=64), *rows))
        assert cost(at(widened, resolution), 0).madds // 10**6 == printed

    def test_the_stride_on_the_pointwise_convolution_costs_more(self) -> None:
        # As in popular sample code: three of four outputs of the strided blocks' depthwise layers are thrown away.
        def misplaced(stage: Stage, channels: int, stride: int, size: int, activation: Activation) -> Block:
            depthwise = Layer("depthwise", 3, 1, channels, channels, size, activation)
            return Block(0, (depthwise, Layer("conv", 1, stride, channels, stage.channels, size, activation)))

        stem, *rows = MOBILENET_V1.stages
        sample = replace(MOBILENET_V1, stages=(stem, *(replace(row, op=misplaced) for row in rows)))
        assert (cost(sample).madds, cost(sample, 0).madds) == (578_900_992, 577_876_992)
        assert cost(sample).params == cost(MOBILENET_V1).params
        assert blocks(sample)[-1].output_size == 7

    def test_lite_counts_three_operations_more_for_each_number_written(self) -> None:
        for row, arch in zip(FACTS["efficientnet_lite"]["rows"], EFFICIENTNET_LITES, strict=True):
            written = sum(layer.output_elements for _, layer in layers(arch, 0))
            assert (cost(arch).madds + 3 * written) / 1e6 == pytest.approx(row[2], rel=5e-3)

    def test_the_face_attributes_teacher_is_as_large_in_the_text_as_in_the_table(self) -> None:
        assert expected("mobilenet_face_text")[0]["other params M"] == expected("mobilenet_table12")[-1]["weights M"]


def as_table1(layer: Layer) -> list[Any]:
    """A layer as a row of the MobileNets paper's Table 1."""
    side = f"{layer.size}x{layer.size}x{layer.inputs}"
    kernel = f"{layer.kernel}x{layer.kernel}x{layer.inputs}"
    match layer.kind:
        case "depthwise":
            return ["Conv dw", layer.stride, f"{kernel} dw", side]
        case "linear":
            return ["FC", layer.stride, f"{layer.inputs}x{layer.outputs}", side]
        case _:
            return ["Conv", layer.stride, f"{kernel}x{layer.outputs}", side]


class TestMobileNet:
    def test_table_1(self) -> None:
        printed = [list(row.values()) for row in expected("mobilenet_table1")]
        assert [as_table1(layer) for _, layer in layers(MOBILENET_V1)] == printed

    def test_has_28_layers(self) -> None:
        assert len(list(layers(MOBILENET_V1))) == 28  # section 3.2

    def test_activates_every_layer_but_the_last(self) -> None:
        activations = [layer.activation for _, layer in layers(MOBILENET_V1)]
        assert activations == ["relu"] * 27 + [""]  # section 3.2

    def test_table_2(self) -> None:
        madds, weights = Counter[str](), Counter[str]()
        for _, layer in layers(MOBILENET_V1):
            madds[type_of(layer)] += layer.madds
            weights[type_of(layer)] += layer.weights
        assert {share.group: share.madds for share in breakdown(MOBILENET_V1, "type")} == madds
        for row in expected("mobilenet_table2"):
            group = row["type"]
            assert (madds[group], weights[group]) == (row["madds"], row["weights"])
            assert 100 * madds[group] / madds.total() == pytest.approx(row["madds %"], abs=5e-3)
            assert 100 * weights[group] / weights.total() == pytest.approx(row["weights %"], abs=5e-3)

    def test_table_3(self) -> None:
        def separable_layers(channels: int, size: int) -> list[Layer]:
            return [Layer("depthwise", 3, 1, channels, channels, size), Layer("conv", 1, 1, channels, channels, size)]

        made = [
            [Layer("conv", 3, 1, 512, 512, 14)],
            separable_layers(512, 14),
            separable_layers(384, 14),
            separable_layers(384, 10),
        ]
        for row, of in zip(expected("mobilenet_table3"), made, strict=True):
            madds, weights = sum(layer.madds for layer in of) / 1e6, sum(layer.weights for layer in of) / 1e6
            for column, ours in (("madds M", madds), ("weights M", weights)):
                for printed in (row[column], row[f"counted {column}"]):
                    assert ours == pytest.approx(printed, abs=0.5 * digit(printed))

    @pytest.mark.parametrize("row", expected("mobilenet_tables_8_and_9"), ids=lambda row: f"{row['other']}-{row['quantity']}")
    def test_tables_8_and_9(self, row: dict[str, Any]) -> None:
        # "27 times less", "more than 2.5 times less": round figures, within a tenth.
        ours = QUANTITIES[row["quantity"]](parse(row["arch"]), 1000) or 0
        assert row["millions"] * 1e6 / ours == pytest.approx(row["times"], rel=0.1)

    def test_exact_variants_cover_four_widths_and_four_resolutions(self) -> None:
        names = {f"mobilenet_v1x{width}@{side}" for width in ("1.0", "0.75", "0.5", "0.25") for side in (224, 192, 160, 128)}
        assert names <= {row["arch"] for row in expected("mobilenet_exact")}

    def test_normalises_10_944_channels(self) -> None:
        body = cost(MOBILENET_V1, 0)
        assert body.params - body.weights == 2 * 10_944  # the biases that sample code keeps in front of normalisation

    def test_accuracies(self) -> None:
        top1 = {name: arch.top1 for name, arch in ARCHS.items() if name.startswith("mobilenet")}
        assert top1 == {
            "mobilenet_v1": 70.6,
            "mobilenet_v1_conv": 71.7,  # Table 4
            "mobilenet_v1_shallow": 65.3,  # Table 5
            "mobilenet_v2": 72.0,
            "mobilenet_v3_large": 75.2,
            "mobilenet_v3_small": 67.4,
        }

    def test_v2_table_2(self) -> None:
        found: list[list[Any]] = []
        made = blocks(MOBILENET_V2)
        for index, row in enumerate(MOBILENET_V2.stages):
            first = next(block for block in made if block.stage == index).layers[0]
            is_bottleneck = row.op is mbconv
            operator, expand = ("bottleneck", row.expand) if is_bottleneck else ("conv2d", None)
            found.append([first.size, first.inputs, operator, expand, row.channels, row.repeat, row.stride])
        head = made[-1].layers[0]
        found.append([head.size, head.inputs, "conv2d 1x1", None, head.outputs, 1, head.stride])
        assert found == FACTS["mobilenet_v2_table2"]["rows"]

    @pytest.mark.parametrize("row", expected("mobilenet_v3_tables_1_and_2"), ids=lambda row: row["arch"])
    def test_v3_tables_1_and_2(self, row: dict[str, Any]) -> None:
        widths = [layer.outputs for _, layer in layers(ARCHS[row["arch"]]) if layer.kind == "depthwise"]
        assert widths == row["exp size"]


class TestEfficientNet:
    def test_table_1(self) -> None:
        found: list[list[Any]] = []
        made = blocks(EFFICIENTNET_B0)
        for stage in range(9):
            first, *rest = [block for block in made if block.stage == stage]
            row = EFFICIENTNET_B0.stages[stage] if stage < 8 else None
            operator = f"MBConv{row.expand},k{row.kernel}x{row.kernel}" if row and row.op is mbconv else ""
            found.append([stage + 1, operator, first.layers[0].size, first.outputs, 1 + len(rest)])
        printed = [[stage, name if "MB" in name else "", *more] for stage, name, *more in FACTS["efficientnet_table1"]["rows"]]
        assert found == printed

    def test_blocks_as_the_reference_code_writes_them(self) -> None:
        inputs, written = EFFICIENTNET_B0.stages[0].channels, []
        for row in list(scaled_stages(EFFICIENTNET_B0))[1:]:
            shape = f"r{row.repeat}_k{row.kernel}_s{row.stride}{row.stride}_e{row.expand}_i{inputs}_o{row.channels}"
            written.append(f"{shape}_se{row.squeeze:g}")
            inputs = row.channels
        assert written == [row["block"] for row in expected("efficientnet_blocks")]

    def test_squeeze_is_a_quarter_of_the_blocks_input(self) -> None:
        made = blocks(EFFICIENTNET_B0)
        squeezed = [(block.layers[0].inputs, layer.hidden) for block in made for layer in block.layers if layer.hidden]
        assert len(squeezed) == 16
        assert all(hidden == channels // 4 for channels, hidden in squeezed)

    def test_grid_search_nearly_doubles(self) -> None:
        product = ALPHA * BETA**2 * GAMMA**2
        assert product == pytest.approx(1.92027, abs=5e-6)  # section 3.3: α β² γ² ≈ 2

    def test_ratios_of_table_2(self) -> None:
        rows = expected("efficientnet_table2")
        for index, row in enumerate(rows):
            if row["model"].startswith("EfficientNet"):
                base, top = row, index
            for column in ("params M", "madds B"):
                times, other = row[f"times {column[:-2]}"], row[column]
                if row is not base and other is not None:
                    printed = FACTS["efficientnet_table2"]["rows"][top][FACTS["efficientnet_table2"]["columns"].index(column)]
                    ours = counted(column, parse(base["arch"]), 1000) or 0
                    assert agrees(times, other, ours, printed), row

    def test_ratios_of_table_5(self) -> None:
        for row in expected("efficientnet_table5"):
            ours = counted("params M", parse(row["arch"]), 0) or 0
            assert agrees(row["times params"], row["other params M"], ours, row["params M"]), row

    def test_means_of_table_5(self) -> None:
        for mean in expected("efficientnet_table5_means"):
            times = [row["times params"] for row in expected("efficientnet_table5") if row["against"] == mean["against"]]
            assert math.prod(times) ** (1 / len(times)) == pytest.approx(mean["times params"], abs=0.05)

    def test_printed_ratios_that_are_not_ratios(self) -> None:
        assert not agrees(6.0, 23, 4.39, 4.2)  # Table 2, PNASNet
        assert not agrees(5.6, 58, 17.55, 17)  # Table 5, Oxford-IIIT Pets

    def test_resnet_50_by_compound_scaling(self) -> None:
        # A hand count of 15.756 truncates the widths inside the blocks (76, 153, 307, 614); here they are multiples of 8.
        assert cost(parse("resnet50x1.2d1.4@291")).madds / 1e9 == pytest.approx(15.756, rel=0.025)

    def test_lite_has_no_gate_and_relu6(self) -> None:
        for arch in EFFICIENTNET_LITES:
            assert not any(layer.kind == "squeeze" for _, layer in layers(arch))
            assert {layer.activation for _, layer in layers(arch)} == {"relu6", ""}


def agrees(times: float, other: float, ours: float, printed: float) -> bool:
    """Whether `times` can be the printed `other` over ours or over the printed figure, each rounded as it is printed."""
    low = (other - digit(other) / 2) / max(ours, printed)
    high = (other + digit(other) / 2) / min(ours, printed)
    return low <= times + digit(times) / 2 and times - digit(times) / 2 <= high
