"""What the pages of every task share: the title, the exported files against budget and network, machine and versions."""

from eyas import __version__
from eyas.deploy.measure import machine
from eyas.deploy.parity import CONTRACTS
from eyas.report.items import Cell, Item, Number, Section, Table, Text, Tone, Verdict
from eyas.run import read_json
from eyas.studies.evidence import amount, percent, threads
from eyas.studies.finished import Checked, Finished

# What two networks' same answer is, where it is not the first of some.
SAME = {
    "attributes": " The same answer: that an attribute is there, or is not, from a probability of a half on.",
    "embed": " The same answer: a vector of nearly the same direction, a cosine of 0.99 or above.",
    "detect": " The same answer: of all boxes that are sure, one of the same class at nearly the same place.",
}


def title(found: Checked) -> str:
    """The run's name."""
    return f"Eyas {found.recipe['study']}: {found.run.resolve().name}"


def nothing_ships(found: Finished) -> tuple[Item, ...]:
    """That no exported file keeps what was promised, where it is so."""
    if found.ships or not found.artifacts:
        return ()
    reasons = "; ".join(f"{target}: {', '.join(file['reasons'])}" for target, file in found.artifacts.items())
    return (Verdict(f"Nothing ships: no exported file keeps what was promised ({reasons}).", "bad"),)


def file_numbers(found: Finished) -> list[Number]:
    """Size and latency of the exported file that is shown."""
    assert found.shown is not None
    file, budget = found.artifacts[found.shown], found.budgets[found.shown]
    latency = file["latency"]
    return [
        Number(
            "Model file",
            amount("size", file["bytes"]),
            _limit("size", budget.size, found.shown),
            _kept(file["bytes"], budget.size),
        ),
        Number(
            "Latency of one image",
            amount("latency", latency["median_ms"]),
            _limit("latency", budget.latency, f"median, {threads(latency['threads'])}, {latency['processor']}"),
            _kept(latency["median_ms"], budget.latency),
        ),
    ]


def network_numbers(arch: str, params: int, madds: int) -> list[Number]:
    """What the network costs, where there is no file to show."""
    return [
        Number("Parameters", amount("params", params), arch),
        Number("MAdds of one image", amount("madds", madds), "a multiply-add is two FLOPs"),
    ]


def honesty(found: Finished, figures: str = "accuracies") -> str:
    """What the figures on the test split are worth."""
    text = (
        "The test split was used once, when everything was decided: no weight, threshold or choice depends on it. Choices "
        f"were made on the validation split, so {figures} on that one flatter."
    )
    if not found.seen_before:
        return text
    return (
        f"{text} But this run directory was used with other settings before: the test split has been seen "
        f"{found.seen_before + 1} times in it, and whoever chose between those results chose with it."
    )


def outcome(found: Finished, target: str) -> str:
    """What became of an exported file."""
    if found.artifacts[target]["reasons"]:
        return "rejected"
    return "ships" if target == found.ships else "accepted"


def measure_of(found: Finished) -> str:
    """What the exported files were compared with their network by, on the validation images."""
    return next(iter(found.artifacts.values()))["parity"].get("measure", "accuracy")


def files(found: Finished, more: tuple[Item, ...] = ()) -> Section:
    """Every exported file against the budget, and against the network that it was made from; `more` is of the task."""
    reasons = [f"- {target}: {reason}" for target, file in found.artifacts.items() for reason in file["reasons"]]
    refused = (Text("What was rejected, and why:\n\n" + "\n".join(reasons)),) if reasons else ()
    return Section("What ships", (Text(_shipping(found)), _budget_table(found), _parity_table(found), *more, *refused))


def versions(found: Finished) -> Section:
    """Machine and versions."""
    place = found.run / "artifacts" / (found.shown or "") / "latency.json"
    measured = read_json(place)["machine"] if found.shown else machine()
    rows = [
        ("eyas, which wrote this report", __version__),
        *((name.replace("_gb", " (GB)"), None if value is None else str(value)) for name, value in measured.items()),
    ]
    whose = "The exported files were measured on this machine." if found.shown else "This report was written on this machine."
    return Section("Machine and versions", (Text(whose), Table("Machine and versions", ("", "value"), tuple(rows))))


def _shipping(found: Finished) -> str:
    if found.ships is None:
        return "Nothing ships: every exported file breaks a promise, below."
    file = found.artifacts[found.ships]
    return (
        f"`artifacts/{found.ships}` ships: {file['arch']} in {file['precision']}, {amount('size', file['bytes'])}. It takes "
        "uint8 RGB images at the network's resolution; scaling and normalisation are in the graph. Size and latency are "
        "of the final file, measured after training, not of an estimate."
    )


def _budget_table(found: Finished) -> Table:
    budget = found.budgets[found.shown or next(iter(found.budgets))]
    limits = {"size": budget.size, "madds": budget.madds, "params": budget.params, "latency": budget.latency}
    kept = [None if limit is None else f"<= {amount(what, limit)}" for what, limit in limits.items()]
    rows: list[tuple[Cell, ...]] = [("limit", *kept, None, "")]
    for target, file in found.artifacts.items():
        latency = file["latency"]
        spent = {"size": file["bytes"], "madds": file["madds"], "params": file["params"], "latency": latency["median_ms"]}
        used = [amount(what, value) for what, value in spent.items()]
        rows.append((target, *used, amount("latency", latency["p90_ms"]), outcome(found, target)))
    timed = next(iter(found.artifacts.values()))["latency"]
    note = (
        f"Latency: one image, {threads(timed['threads'])}, {timed['runtime']} on {timed['processor']}, {timed['repeats']} runs "
        "after warm-up. 1 MB is 1,000,000 bytes; a multiply-add (MAdd) is two FLOPs."
    )
    columns = ("file", "size", "MAdds", "parameters", "median latency", "nine of ten within", "outcome")
    return Table("Against the budget", columns, tuple(rows), note)


def _parity_table(found: Finished) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for target, file in found.artifacts.items():
        parity, contract = file["parity"], CONTRACTS[file["precision"]]
        gap = f"{parity['largest_gap']:.4f} (" + (f"<= {contract.max_gap:g})" if contract.max_gap < 1 else "no limit)")
        same = f"{percent(parity['agreement'])} (>= {100 * contract.min_agreement:.0f} %)"
        both = [None if parity[end] is None else percent(parity[end]) for end in ("reference", "artifact")]
        rows.append((target, same, gap, *both))
    images = next(iter(found.artifacts.values()))["parity"]["images"]
    note = (
        f"On {images:,} validation images; what was promised in brackets. A promise is broken when a figure is "
        "beyond its limit and beyond what chance explains on so many images."
    )
    measure, task = measure_of(found), found.recipe.get("task", "classify")
    gaps = "largest gap of a number" if task == "embed" else "largest gap of a probability"
    short = measure.replace("mean average precision", "mAP")  # for the head of a column
    columns = ("file", "same answer", gaps, f"network's {short}", f"file's {short}")
    return Table("Parity: the exported file against the trained network", columns, tuple(rows), note + SAME.get(task, ""))


def _limit(what: str, limit: float | None, note: str) -> str:
    return note if limit is None else f"limit {amount(what, limit)}; {note}"


def _kept(value: float, limit: float | None) -> Tone:
    if limit is None:
        return "neutral"
    return "good" if value <= limit else "bad"
