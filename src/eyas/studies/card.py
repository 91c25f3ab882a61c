"""MODEL_CARD.md: what a user of the model must know, from the run alone (Mitchell et al. 2019)."""

from eyas import __version__
from eyas.deploy import predict as page
from eyas.report import markdown
from eyas.report.items import Cell, Item, Section, Table, Text
from eyas.studies.evidence import Evidence, amount, percent, threads
from eyas.studies.networks import name_of
from eyas.studies.proof import Accuracy

USE = """## How to use it

```
python artifacts/{target}/predict.py photo.jpg
```

It prints a line of JSON with the class and its confidence, and needs Python 3.9 or later, numpy, Pillow 10.1 or later and
`{runtime}`, and nothing of Eyas. {shown} The file itself takes pixels as they are (uint8, NHWC, RGB): scaling
and normalisation are in the graph.
"""


def card(found: Evidence) -> str:
    """The card as Markdown."""
    sections = (_details(found), _use(found), _training(found), _evaluation(found), _limits(found))
    name = f"Model card: {found.run.resolve().name}"
    return f"{markdown.page(name, '', (), sections)}\n{_how(found)}"


def _details(found: Evidence) -> Section:
    lines = [
        f"- Network: {found.arch}",
        "- Task: image classification",
        f"- Classes: {', '.join(found.data.classes)}",
        *([f"- Began with the weights of: {begun}"] if (begun := found.began) else []),
        f"- Made with: Eyas {__version__}, `eyas {found.recipe['study']}`",
    ]
    if found.ships:
        file = found.artifacts[found.ships]
        latency = file["latency"]
        how = f"median; {threads(latency['threads'])}, {latency['processor']}, {latency['runtime']}"
        lines += [
            f"- File: `artifacts/{found.ships}`, {file['precision']}, {amount('size', file['bytes'])}, "
            f"{amount('params', file['params'])} parameters, {amount('madds', file['madds'])} multiply-adds an image",
            f"- Latency: {amount('latency', latency['median_ms'])} an image ({how})",
        ]
    return Section("Model details", (Text("\n".join(lines)),))


def _use(found: Evidence) -> Section:
    text = (
        f"To tell {len(found.data.classes)} classes apart in images like those of `{found.recipe['data']}`. It answers with "
        "one of its classes to any image, also to one that shows none of them."
    )
    return Section("Intended use", (Text(text),))


def _training(found: Evidence) -> Section:
    splits = found.data.findings["splits"]
    images = f"{splits['train']:,} labelled images to train on and {splits['validation']:,} to choose with"
    text = f"From `{found.recipe['data']}`: {images}."
    if found.pile is not None:
        text += f" Beside them {len(found.pile):,} images without labels."
    if found.quarantine:
        text += f" Files left out because they cannot be read: {len(found.quarantine):,}."
    items: list[Item] = [Text(text)]
    if found.verdict:
        items.append(Text(f"What the unlabelled images gave: {found.verdict}"))
    return Section("Training data", tuple(items))


def _evaluation(found: Evidence) -> Section:
    scores = {name_of(name): each["accuracy"] for name, each in found.tested.items()}
    scores |= {f"file {target}": file["test"]["accuracy"] for target, file in found.artifacts.items() if not file["reasons"]}
    rows: list[tuple[Cell, ...]] = [(name, str(Accuracy(**score))) for name, score in scores.items()]
    note = f"{found.accuracy.images:,} test images, no choice was made on them; intervals after Wilson."
    items: list[Item] = [Table("Accuracy on the test split", ("model", "accuracy (95 % interval)"), tuple(rows), note)]
    if found.ships:
        parity = found.artifacts[found.ships]["parity"]
        agreement = f"{percent(parity['agreement'])} of {parity['images']:,} validation images"
        items.append(Text(f"The file gives the trained network's answer on {agreement}."))
    return Section("Evaluation", tuple(items))


def _limits(found: Evidence) -> Section:
    matrix = found.scored["confusion"]
    shares = {
        name: row[index] / sum(row)
        for index, (name, row) in enumerate(zip(found.data.classes, matrix, strict=True))
        if sum(row)
    }
    worst = min(shares, key=lambda name: shares[name])
    lines = [
        f"- Measured on {found.accuracy.images:,} test images of the same source as the training images; accuracy on images "
        "from elsewhere was not measured.",
        f"- The class found least often is {worst}: {percent(shares[worst])} of its test images.",
        "- Robustness to noise, blur and other corruptions was not measured.",
    ]
    if found.ships:
        lines.append("- Latency holds for the machine and the threads named above.")
    return Section("Limits", (Text("\n".join(lines)),))


def _how(found: Evidence) -> str:
    if found.ships is None:
        rejected = "Every exported file was rejected; report.html says why."
        why = rejected if found.artifacts else "No file was exported; `eyas export` does that."
        return f"## How to use it\n\n{why} `eyas predict` answers from the run itself.\n"
    family = page.family(found.ships)
    if family is None:  # no runtime of its own, so no page beside it
        return f"## How to use it\n\n`eyas predict artifacts/{found.ships} photo.jpg` answers from the file.\n"
    crop = found.artifacts[found.ships].get("crop", 1.0)
    middle = f"The middle of the image is resized, {crop:.4g} of each side."
    shown = "The whole image is resized, nothing is cut away." if crop == 1 else middle
    return USE.format(target=found.ships, runtime=page.RUNTIMES[family][0], shown=shown)
