"""MODEL_CARD.md: what a user of the model must know, from the run alone (Mitchell et al. 2019)."""

from dataclasses import dataclass

from eyas import __version__
from eyas.deploy import predict as page
from eyas.report import markdown
from eyas.report.items import Cell, Item, Section, Table, Text
from eyas.studies.evidence import Evidence, amount, percent, threads
from eyas.studies.finished import Finished
from eyas.studies.networks import name_of
from eyas.studies.proof import Accuracy

USE = """## How to use it

```
python artifacts/{target}/predict.py photo.jpg
```

It prints a line of JSON with {answer}, and needs Python 3.9 or later, numpy, Pillow 10.1 or later and
`{runtime}`, and nothing of Eyas. {shown} The file itself takes pixels as they are (uint8, NHWC, RGB): scaling
and normalisation are in the graph.
"""

ROBUST = "Robustness to noise, blur and other corruptions was not measured."
EXPORT = "No file was exported; `eyas export` does that."


@dataclass(frozen=True)
class About:
    """What a card says that is of the task.

    Attributes:
        task: what the model does.
        knows: which things it tells.
        use: what it is for, and what it is not.
        pile: what the unlabelled images gave; "" where that was not measured.
        evaluation: the figures on the test split.
        limits: what was not measured, and where the model is weakest.
        answer: what a line of the file's answers holds.
        none: why there is no file, where none was exported.
    """

    task: str
    knows: str
    use: str
    pile: str
    evaluation: Table
    limits: tuple[str, ...]
    answer: str
    none: str


def card(found: Finished, about: About) -> str:
    """The card as Markdown."""
    sections = (
        _details(found, about),
        Section("Intended use", (Text(about.use),)),
        _training(found, about),
        _evaluation(found, about),
        _limits(found, about),
    )
    name = f"Model card: {found.run.resolve().name}"
    return f"{markdown.page(name, '', (), sections)}\n{_how(found, about)}"


def about_classes(found: Evidence) -> About:
    """What the card of a classifier says."""
    use = (
        f"To tell {len(found.data.classes)} classes apart in images like those of `{found.recipe['data']}`. It answers with "
        "one of its classes to any image, also to one that shows none of them."
    )
    return About(
        task="image classification",
        knows=f"Classes: {', '.join(found.data.classes)}",
        use=use,
        pile=f"What the unlabelled images gave: {found.verdict}" if found.verdict else "",
        evaluation=_accuracies(found),
        limits=(
            f"Measured on {found.accuracy.images:,} test images of the same source as the training images; accuracy on images "
            "from elsewhere was not measured.",
            _worst(found),
            ROBUST,
        ),
        answer="the class and its confidence",
        none=EXPORT,
    )


def _details(found: Finished, about: About) -> Section:
    lines = [
        f"- Network: {found.arch}",
        f"- Task: {about.task}",
        f"- {about.knows}",
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


def _training(found: Finished, about: About) -> Section:
    splits = found.data.findings["splits"]
    images = f"{splits['train']:,} labelled images to train on and {splits['validation']:,} to choose with"
    text = f"From `{found.recipe['data']}`: {images}."
    if found.pile is not None:
        text += f" Beside them {len(found.pile):,} images without labels."
    if found.quarantine:
        text += f" Files left out because they cannot be read: {len(found.quarantine):,}."
    return Section("Training data", (Text(text), *((Text(about.pile),) if about.pile else ())))


def _evaluation(found: Finished, about: About) -> Section:
    items: list[Item] = [about.evaluation]
    if found.ships:
        parity = found.artifacts[found.ships]["parity"]
        agreement = f"{percent(parity['agreement'])} of {parity['images']:,} validation images"
        items.append(Text(f"The file gives the trained network's answer on {agreement}."))
    return Section("Evaluation", tuple(items))


def _accuracies(found: Evidence) -> Table:
    scores = {name_of(name): each["accuracy"] for name, each in found.tested.items()}
    scores |= {f"file {target}": file["test"]["accuracy"] for target, file in found.artifacts.items() if not file["reasons"]}
    rows: list[tuple[Cell, ...]] = [(name, str(Accuracy(**score))) for name, score in scores.items()]
    note = f"{found.accuracy.images:,} test images, no choice was made on them; intervals after Wilson."
    return Table("Accuracy on the test split", ("model", "accuracy (95 % interval)"), tuple(rows), note)


def _worst(found: Evidence) -> str:
    matrix = found.scored["confusion"]
    shares = {
        name: row[index] / sum(row)
        for index, (name, row) in enumerate(zip(found.data.classes, matrix, strict=True))
        if sum(row)
    }
    worst = min(shares, key=lambda name: shares[name])
    return f"The class found least often is {worst}: {percent(shares[worst])} of its test images."


def _limits(found: Finished, about: About) -> Section:
    lines = [f"- {limit}" for limit in about.limits]
    if found.ships:
        lines.append("- Latency holds for the machine and the threads named above.")
    return Section("Limits", (Text("\n".join(lines)),))


def _how(found: Finished, about: About) -> str:
    if found.ships is None:
        rejected = "Every exported file was rejected; report.html says why."
        why = rejected if found.artifacts else about.none
        return f"## How to use it\n\n{why} `eyas predict` answers from the run itself.\n"
    family = page.family(found.ships)
    if family is None:  # no runtime of its own, so no page beside it
        return f"## How to use it\n\n`eyas predict artifacts/{found.ships} photo.jpg` answers from the file.\n"
    crop = found.artifacts[found.ships].get("crop", 1.0)
    middle = f"The middle of the image is resized, {crop:.4g} of each side."
    shown = "The whole image is resized, nothing is cut away." if crop == 1 else middle
    return USE.format(target=found.ships, answer=about.answer, runtime=page.RUNTIMES[family][0], shown=shown)
