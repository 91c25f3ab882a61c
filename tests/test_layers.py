"""The house rules that a machine can keep: which way imports point, where toolkits and prints may be.

`violations(src)` reads a source tree and returns `file:line what`; the tests hold it against Eyas and, so that it is
known to find them, against small made-up trees that break one rule each.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LEAVES = {"errors", "recipe", "presets", "run", "report", "progress", "team", "memory", "compiled", "places"}
BELOW_STUDIES = {"arch", "data", "nn", "tasks", "learn", "deploy"}

# Room: the rooms it may import besides itself. `tasks.task` is the protocol without the concrete tasks.
MAY_IMPORT = {
    **dict.fromkeys(LEAVES, LEAVES),
    "arch": {"errors"},
    "data": LEAVES,
    "nn": {"arch"} | LEAVES,
    "tasks": {"nn", "data", "arch"} | LEAVES,
    "learn": {"tasks.task", "nn", "arch", "data"} | LEAVES,
    "deploy": {"nn", "arch", "data", "tasks", "learn"} | LEAVES,
    "studies": BELOW_STUDIES | LEAVES,
    "cli": BELOW_STUDIES | LEAVES | {"studies"},
    "__main__": {"cli"},
    "__init__": BELOW_STUDIES | LEAVES | {"studies"},  # eyas.fit and its like are the public names
}

IMPORT_NAMES = {"pillow": "PIL"}  # of packages that are not imported under their own name


@dataclass(frozen=True)
class Import:
    """One imported module; `outside` when it runs as soon as its file is imported (imports for types never run)."""

    file: Path
    line: int
    module: str
    outside: bool

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


def core_packages() -> set[str]:
    """Import names of what every installation of Eyas has, from pyproject.toml."""
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.match(r"[\w.-]+", requirement).group() for requirement in required]
    return {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}


def violations(src: Path, core: set[str]) -> list[str]:
    """Every broken rule under `src`, the folder that holds the package `eyas`, as `file:line what`."""
    files = {file.relative_to(src): ast.parse(file.read_text()) for file in sorted(src.rglob("*.py"))}
    imports = [found for file, tree in files.items() for found in imports_of(src, file, tree)]
    return [
        *wrong_way(imports),
        *heavy_arch(imports),
        *toolkits(imports, core),
        *prints(files),
        *(f"{file}:1 has no docstring" for file, tree in files.items() if not ast.get_docstring(tree)),
    ]


def imports_of(src: Path, file: Path, tree: ast.Module) -> Iterator[Import]:
    """What `file` imports, wherever it does so; `from eyas.tasks import task` is the module eyas.tasks.task."""
    later = {inner for node in ast.walk(tree) if runs_later(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        modules: list[str] = []
        match node:
            case ast.Import():
                modules = [alias.name for alias in node.names]
            case ast.ImportFrom():
                package = [*file.parent.parts[: len(file.parent.parts) - node.level + 1]] if node.level else []
                base = ".".join([*package, *([node.module] if node.module else [])])
                inner = [f"{base}.{alias.name}" for alias in node.names]
                modules = sorted({name if is_module(src, name) else base for name in inner})
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(name)), *_]):
                modules = [name] if called in ("import_module", "__import__") else []
        yield from (Import(file, node.lineno, module, node not in later) for module in modules)


def runs_later(node: ast.AST) -> bool:
    """Whether what is in `node` waits for a call, or for a type checker."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[]):
            return True
        case _:
            return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def is_module(src: Path, name: str) -> bool:
    path = src.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def room_of(file: Path) -> str:
    """`eyas/nn/build.py` and `eyas/run.py` are in the rooms nn and run."""
    return file.parts[1].removesuffix(".py")


def wrong_way(imports: list[Import]) -> Iterator[str]:
    for found in imports:
        top, *inside = found.module.split(".")
        room = room_of(found.file)
        if top != "eyas" or not inside or inside[0] == room:
            continue
        if room not in MAY_IMPORT:
            yield f"{found.where} the room {room} is not in the design"
        elif not {inside[0], ".".join(inside[:2])} & MAY_IMPORT[room]:
            yield f"{found.where} {room} imports {found.module}"


def heavy_arch(imports: list[Import]) -> Iterator[str]:
    for found in imports:
        top = found.module.split(".")[0]
        if room_of(found.file) == "arch" and top not in sys.stdlib_module_names and top != "eyas":
            yield f"{found.where} arch imports {found.module}, which is not in the standard library"


def toolkits(imports: list[Import], core: set[str]) -> Iterator[str]:
    """What only an extra installs: imported within functions, and each in one file."""
    home: dict[str, Path] = {}
    for found in imports:
        toolkit = found.module.split(".")[0]
        if toolkit in sys.stdlib_module_names | core | {"eyas"}:
            continue
        if found.outside:
            yield f"{found.where} imports {toolkit} outside the function that needs it"
        if home.setdefault(toolkit, found.file) != found.file:
            yield f"{found.where} imports {toolkit}, which is {home[toolkit]}'s"


def prints(files: dict[Path, ast.Module]) -> Iterator[str]:
    for file, tree in files.items():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "print"
                and room_of(file) != "cli"
            ):
                yield f"{file}:{node.lineno} prints"


def test_eyas_keeps_its_rules() -> None:
    found = violations(ROOT / "src", core_packages())
    assert not found, "\n" + "\n".join(f"src/{each}" for each in found)


def test_the_rooms_are_those_of_the_design() -> None:
    entries = {entry.stem for entry in (ROOT / "src" / "eyas").iterdir() if entry.suffix == ".py" or any(entry.rglob("*.py"))}
    assert entries <= set(MAY_IMPORT)


def test_the_core_is_read_from_the_project() -> None:
    assert {"torch", "numpy", "PIL", "pyarrow", "jsonargparse", "safetensors"} <= core_packages()
    assert not {"onnx", "onnxruntime", "altair", "vl_convert", "timm", "torchvision"} & core_packages()


def tree_of(folder: Path, files: dict[str, str]) -> Path:
    """A package `eyas` with these files, on top of a small one that keeps every rule."""
    small = {
        "__init__.py": "",
        "errors.py": "",
        "run.py": "from eyas.errors import UserError\n",
        "arch/spec.py": "import math\nfrom eyas.errors import UserError\n",
        "nn/build.py": "import torch\nfrom eyas.arch.spec import Arch\nfrom eyas.nn import blocks\n",
        "nn/blocks.py": "import numpy as np\n",
        "tasks/task.py": "import torch\nfrom eyas.nn.build import Network\n",
        "tasks/classify.py": "from eyas.tasks.task import Task\nfrom eyas.run import write_json\n",
        "data/store.py": "from eyas import run, errors\n",
        "learn/train.py": "from eyas.tasks.task import Task\nfrom eyas.tasks import task\nimport eyas.data.store\n",
        "deploy/onnx.py": "if TYPE_CHECKING:\n    import onnx\ndef export():\n    from onnx import helper\n",
        "studies/fit.py": "from eyas.learn.train import train\nfrom eyas.deploy import onnx\n",
        "studies/train.py": "from eyas.studies.fit import fit\n",
        "cli.py": "from eyas.studies import fit\nfrom eyas import __version__\nprint(__version__)\n",
    }
    for name, text in ({name: f'"""A room."""\n{text}' for name, text in small.items()} | files).items():
        path = folder / "eyas" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_tree_that_keeps_every_rule_passes(tmp_path: Path) -> None:
    assert violations(tree_of(tmp_path, {}), {"torch", "numpy"}) == []


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("arch/a.py", "import eyas.data.store", "arch imports eyas.data.store"),
        ("arch/a.py", "from eyas.run import Run", "arch imports eyas.run"),
        ("arch/a.py", "import numpy", "arch imports numpy, which is not in the standard library"),
        ("data/a.py", "from eyas.arch.spec import Arch", "data imports eyas.arch.spec"),
        ("data/a.py", "from eyas import arch", "data imports eyas.arch"),
        ("data/a.py", "from ..nn.build import Network", "data imports eyas.nn.build"),
        ("nn/a.py", "def f():\n    from eyas.data import store", "nn imports eyas.data.store"),
        ("nn/a.py", "from importlib import import_module\nimport_module('eyas.tasks.task')", "nn imports eyas.tasks.task"),
        ("tasks/a.py", "from eyas.learn.train import train", "tasks imports eyas.learn.train"),
        ("learn/a.py", "from eyas.tasks.classify import Classify", "learn imports eyas.tasks.classify"),
        ("learn/a.py", "from eyas.tasks import Classify", "learn imports eyas.tasks"),
        ("learn/a.py", "from eyas.tasks import task, classify", "learn imports eyas.tasks.classify"),
        ("learn/a.py", "from eyas.deploy import onnx", "learn imports eyas.deploy.onnx"),
        ("deploy/a.py", "from eyas.studies.fit import fit", "deploy imports eyas.studies.fit"),
        ("studies/a.py", "import eyas.cli", "studies imports eyas.cli"),
        ("__init__.py", "from eyas.cli import main", "__init__ imports eyas.cli"),
        ("errors.py", "from eyas.nn.build import Network", "errors imports eyas.nn.build"),
        ("report/page.py", "from eyas.data.store import Store", "report imports eyas.data.store"),
        ("utils/a.py", "from eyas.run import Run", "the room utils is not in the design"),
        ("data/a.py", "import onnxruntime", "imports onnxruntime outside the function that needs it"),
        (
            "data/a.py",
            "if True:\n    import timm",
            "imports timm outside the function that needs it",
        ),
        ("studies/z.py", "def f():\n    import onnx.helper", "imports onnx, which is eyas/deploy/onnx.py's"),
        ("nn/a.py", "print('x')", "prints"),
        ("nn/a.py", "def f():\n    return [print(x) for x in ()]", "prints"),
    ],
)
def test_finds_what_breaks_a_rule_and_where(tmp_path: Path, file: str, text: str, found: str) -> None:
    line = 1 + len(text.splitlines())  # below the docstring, the last line is the one at fault
    src = tree_of(tmp_path, {file: f'"""A room."""\n{text}\n'})
    assert violations(src, {"torch", "numpy"}) == [f"eyas/{file}:{line} {found}"]


def test_finds_a_file_without_a_docstring(tmp_path: Path) -> None:
    src = tree_of(tmp_path, {"nn/a.py": "import math\n"})
    assert violations(src, {"torch", "numpy"}) == ["eyas/nn/a.py:1 has no docstring"]
