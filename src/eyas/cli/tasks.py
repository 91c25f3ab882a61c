"""What `eyas train`, `evaluate`, `embed` and `neighbors` found, by the figures of the task."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.markup import escape

from eyas.cli.terminal import out


def show_train(result: Any) -> None:
    """What the test split says, and where the run is."""
    if result.task == "classify":
        out.print(f"{result.arch}: test accuracy {result.test} on {result.test.images} images")
    else:
        out.print(f"{result.arch}, on the test split:")
        _show_task(result.task, result.test)
    out.print(f"run  {escape(str(result.run))}")


def show_evaluate(result: Any) -> None:
    """The figures of the task, and what was left out."""
    found = asdict(result)
    if "told" in found:
        _show_task("attributes", found["told"])
    elif "verification" in found:
        _show_task("embed", found)
    elif "found" in found:
        _show_task("detect", found["found"])
    else:
        out.print(f"accuracy {result.accuracy} on {result.accuracy.images} images")
    out.print(f"left out: {result.seen} that the run had seen, {result.unreadable} that cannot be read")
    for name, recall in getattr(result, "recalls", {}).items():
        out.print(f"  {escape(name)}: {recall} of {recall.images}")


def show_embed(result: Any) -> None:
    """How many images have a vector, of which network, and where."""
    whose = "" if result.learned else ": it was not trained to embed, so they are what its head stands on"
    out.print(f"[bold]{result.images:,} images[/] have a vector of {result.width} numbers of {escape(result.arch)}{whose}")
    if result.unreadable:
        out.print(f"  {result.unreadable:,} cannot be read")
    out.print(f"vectors  {escape(str(result.out))}")


def show_neighbors(result: Any) -> None:
    """A line for each, the nearest first."""
    for each in result:
        out.print(f"{each.cosine:.4f}  {escape(each.source)}")


def _show_task(task: str, found: Mapping[str, Any]) -> None:
    """Figures of a task as they stand in a run, with their 95 % intervals."""
    {"attributes": _show_attributes, "embed": _show_embedding, "detect": _show_boxes}[task](found)


def _show_attributes(told: Mapping[str, Any]) -> None:
    mean = told["mean"]
    out.print(f"mean average precision {_share(mean)} over {mean['there']} attributes, {mean['images']} images")
    for name, each in told["each"].items():
        out.print(f"  {escape(name)}: {_share(each)}, {each['there']} of {each['images']} have it")
    if told["constant"]:
        out.print(f"  the same for all, and no part of the mean: {escape(', '.join(told['constant']))}")


def _show_embedding(found: Mapping[str, Any]) -> None:
    pairs, retrieval = found["verification"], found["retrieval"]
    without = f"; {pairs['left_out']} left out" if pairs["left_out"] else ""
    out.print(f"{pairs['same']:,} pairs of one identity, {pairs['different']:,} of two{without}")
    out.print(f"  accuracy {pairs['accuracy']:.2%}, deviation {pairs['deviation']:.2%} over {pairs['folds']} folds")
    auc = pairs["auc"]
    out.print(f"  area under the ROC curve {auc['value']:.4f} ({auc['low']:.4f} to {auc['high']:.4f})")
    for each in pairs["accepted"]:
        told = f"  true accepted at {each['false_share']:g} of the false: "
        if each["rate"] is None:
            out.print(f"{told}too few pairs of two identities, {each['needed']:,} are needed")
        else:
            out.print(f"{told}{_share(each['rate'])}, {each['allowed']:,} false pairs")
    for name, share in (retrieval or {"figures": {}})["figures"].items():
        out.print(f"  {name.replace('_', ' ')}: {_share(share)} of {retrieval['queries']} queries")


def _show_boxes(found: Mapping[str, Any]) -> None:
    mean = found["mean"]
    out.print(f"mean average precision {_share(mean)}, {found['things']:,} boxes in {mean['images']:,} images")
    out.print(f"  at an overlap of 0.5: {found['at_50']:.1%}, of 0.75: {found['at_75']:.1%}")
    for name, value in found["classes"].items():
        out.print(f"  {escape(name)}: {'none to be found' if value is None else f'{value:.1%}'}")


def _share(found: Mapping[str, Any]) -> str:
    """`85.2 % (82.3 to 87.7)`."""
    return f"{100 * found['value']:.1f} % ({100 * found['low']:.1f} to {100 * found['high']:.1f})"
