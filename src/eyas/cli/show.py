"""The result of each command as people read it; that of `eyas cost` is in `costs`."""

import os
from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from eyas.arch.budget import show
from eyas.cli.terminal import out

SHOWN = 10  # classes


def show_fit(result: Any) -> None:
    """Accuracies on the test split, the verdict on the pile, and what ships."""
    table = Table(title="Accuracy on the test split", title_justify="left", box=SIMPLE)
    for column in ("model", "accuracy", "95 % interval", "images"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, found in result.test.items():
        table.add_row(name, f"{found.value:.1%}", f"{found.low:.1%} to {found.high:.1%}", str(found.images))
    out.print(table)
    out.print(f"[bold]{escape(result.verdict)}")
    ships = f"{show('size', result.size)}, {show('latency', result.latency_ms)} an image"
    out.print(f"ships   {escape(str(result.artifact))} ({ships})\nreport  {escape(str(result.report))}")


def show_audit(result: Any) -> None:
    """What the data holds, what is wrong with it, and where it is told in full."""
    if result.freed is not None:
        out.print(f"cache   {show('size', result.freed) if result.freed else 'nothing'} given back")
    if result.findings is None:
        return
    found = result.findings
    splits = ", ".join(f"{name} {count:,}" for name, count in found["splits"].items())
    out.print(f"[bold]{found['images']:,} labelled images[/] in {len(found['classes'])} classes: {splits}")
    near, equal = found["near"], found["duplicates"]
    out.print(f"  unreadable       {result.quarantined:,}")
    out.print(f"  equal pictures   {equal['dropped']:,} dropped, {equal['conflicting_labels']:,} with different labels")
    out.print(f"  near copies      {near['dropped']:,} dropped from training, as a held-out split has them")
    if pile := found["pile"]:
        leaks = {name: pile[name] for name in pile if name.endswith(("_validation", "_test"))}
        out.print(f"  pile             {pile['images']:,} of {pile['read']:,} kept; {sum(leaks.values()):,} held out elsewhere")
    if checked := result.labels:
        out.print(f"  labels           {checked['suspects']:,} of {checked['answered']:,} look wrong, see label-issues.csv")
    out.print(f"report  {escape(str(result.report))}")


def show_predict(answer: Any) -> None:
    """A line for one image."""
    text, sure = f"cannot be read: {answer.error}", None
    if not answer.error:
        text, sure = _told(answer)
    name = os.fsencode(answer.image).decode("utf-8", "backslashreplace")
    out.print(f"{escape(name)}: {escape(text)}{' (not sure)' if sure is False else ''}")


def _told(answer: Any) -> tuple[str, bool | None]:
    """What an answer says, by what it holds: classes, attributes, a vector's beginning or boxes; and whether it is sure."""
    if hasattr(answer, "top"):
        return ", ".join(f"{guess.label} {guess.confidence:.1%}" for guess in answer.top), answer.sure
    if hasattr(answer, "attributes"):
        likeliest = sorted(answer.attributes.items(), key=lambda each: -each[1])
        return ", ".join(f"{name} {value:.1%}" for name, value in likeliest), None
    if hasattr(answer, "vector"):
        first = ", ".join(f"{value:.3f}" for value in answer.vector[:4])
        return f"{len(answer.vector)} numbers: {first}, ... (--json prints all)", None
    sure = [each for each in answer.boxes if (each.confidence >= 0.5 if each.sure is None else each.sure)]
    texts = [f"{each.label} {each.confidence:.1%} at {', '.join(f'{side:.0f}' for side in each.box)}" for each in sure]
    return "; ".join(texts) or "nothing", None


def show_label(result: Any) -> None:
    """How much of the pile has an answer, what was new, and what the answers are."""
    out.print(f"[bold]{result.answered:,} of {result.images:,} images[/] have soft labels, {result.new:,} of them given now")
    for count, text in (
        (result.changed, "had changed since their last answer"),
        (result.gone, "that are no more in the pile keep theirs"),
        (result.unreadable, "cannot be read"),
    ):
        if count:
            out.print(f"  {count:,} {text}")
    for name, count in sorted(result.classes.items(), key=lambda each: -each[1])[:SHOWN]:
        out.print(f"  {escape(name)}: {count:,}")
    if len(result.classes) > SHOWN:
        out.print(f"  and {len(result.classes) - SHOWN} more classes")
    out.print(f"labels  {escape(str(result.out))} ({result.shards:,} parquet files)")


def show_export(result: Any) -> None:
    """Each artifact with its size, latency and agreement, what that does to accuracy and, of int8, the way it was made."""
    for name, found in result.artifacts.items():
        latency, parity, change = found["latency"], found["parity"], found["change"]
        out.print(f"{escape(str(result.folder / name))}: {show('size', found['bytes'])}")
        out.print(
            f"  {latency['median_ms']:.2f} ms an image, nine of ten {latency['p90_ms']:.2f}, {latency['threads']} thread(s)"
        )
        out.print(f"  agrees with the trained network on {parity['agreement']:.1%} of {parity['images']} validation images")
        between = f"95 % interval {change['low']:+.1f} to {change['high']:+.1f}"
        what = parity["measure"]
        shares = f"{change['before']:.1%} -> {change['after']:.1%}, {change['points']:+.1f} points ({between})"
        out.print(f"  {what} on them {shares}")
        if found.get("rung"):
            out.print(f"  int8 by the way \\[{found['rung']}] of docs/int8.md")


def show_report(result: Any) -> None:
    """Where it is."""
    out.print(escape(str(result)))
