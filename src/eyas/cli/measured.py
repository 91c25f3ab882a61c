"""The result of `eyas measure` as people read it."""

from typing import Any

from rich.markup import escape

from eyas.arch.budget import show
from eyas.cli.terminal import out


def show_measure(result: Any) -> None:
    """Artifacts side by side; or where the latency table or the kit is, and what comes next."""
    from eyas.studies.measure import Kit, Tabled  # what only this command loads

    match result:
        case Kit():
            out.print(f"kit  {escape(str(result.folder))}: {result.models} models for {result.target}")
            out.print("copy the folder to the device, and there:  python time_models.py --out timings.json")
            out.print("then here:  eyas measure --device-table --timings timings.json --out table.json")
        case Tabled():
            out.print(f"table  {escape(str(result.path))}: {escape(result.device)}, {result.runtime}, {result.target}")
            out.print(f"  of {result.probes} graphs on {result.threads} thread(s)")
            out.print(f"  networks left out of it were predicted with a median error of {result.error:.1%}")
        case _:
            _side_by_side(result)


def _side_by_side(rows: list[Any]) -> None:
    first = rows[0]
    how = f"{first.threads} thread(s), batch {first.batch}, {first.repeats} runs of each in turn"
    out.print(f"{escape(first.processor)}, {how}")
    for row in rows:
        out.print(f"[bold]{escape(row.artifact)}[/]: {escape(row.arch)}, {row.target}, {show('size', row.bytes)}")
        out.print(
            f"  {row.median_ms:.2f} ms ({row.low_ms:.2f} to {row.high_ms:.2f}), nine of ten {row.p90_ms:.2f}, "
            f"{row.images_per_second:,.0f} images/s, {row.runtime}"
        )
        if len(rows) > 1:
            out.print(f"  {_compared(row)}")
        if row.peak_bytes is not None:
            out.print(f"  loads in {row.load_ms:,.0f} ms; {show('size', row.peak_bytes)} of memory at most")
        if row.joules is not None:
            out.print(f"  {1e3 * row.joules:.1f} mJ an image, of the whole processor")
    if first.energy_note:
        out.print(f"energy: {escape(first.energy_note)}")


def _compared(row: Any) -> str:
    if row.verdict == "slower":
        return f"takes {row.ratio:.2f} times as long as the fastest ({row.ratio_low:.2f} to {row.ratio_high:.2f})"
    return row.verdict if "fastest" in row.verdict else "no difference from the fastest could be measured"
