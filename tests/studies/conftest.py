"""One finished run of the main job, shared by the tests that look at it; and exports that are not made twice."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyas.cli import main
from eyas.deploy import onnx, quantize
from eyas.deploy.shipment import Shipment
from eyas.nn.build import Network
from tests.images import hostile
from tests.scenes import write_scenes

FAST = Path(__file__).parents[1] / "fast.yaml"


@dataclass(frozen=True)
class Photos:
    """Forty labelled pictures a class and a pile of sixty others, with `odd` files among them: name to refusal or None."""

    labelled: Path
    pile: Path
    odd: dict[str, str | None]
    before: dict[str, tuple[int, bytes]]

    def fit(self, out: Path, *more: str) -> list[str]:
        """The words of the main job in its fast form."""
        return ["fit", str(self.labelled), "--config", str(FAST), "--unlabeled", str(self.pile), "--out", str(out), *more]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    labelled = write_scenes(folder / "labelled", 40)
    (labelled / "bar" / "cut.png").write_bytes((labelled / "bar" / "bar0-b000.png").read_bytes()[:900])
    pile = write_scenes(folder / "pile", 30, seed=1, labelled=False)
    odd = hostile(pile / "odd")
    return Photos(labelled, pile, odd, contents(folder))


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and bytes of every file below a folder, by its path."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


@pytest.fixture(scope="session", autouse=True)
def each_export_once() -> Iterator[None]:
    """The exporter takes seconds, and the same network always gives the same graph."""
    made: dict[str, Any] = {}
    export = onnx.exported

    def exported(shipment: Shipment) -> Any:
        network = shipment.network
        if not isinstance(network, Network):  # a fake of another room's tests in this process
            return export(shipment)
        state = [tensor.cpu().numpy() for tensor in network.state_dict().values()]
        key = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in state))
        key.update(repr((str(network.arch), shipment.labels())).encode())
        if key.hexdigest() not in made:
            made[key.hexdigest()] = export(shipment)
        copy = type(made[key.hexdigest()])()
        copy.CopyFrom(made[key.hexdigest()])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "exported", exported)
        patch.setattr(quantize, "exported", exported)
        yield


@pytest.fixture(scope="session")
def reference(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed. Never write to it; `copy_of` gives one to change."""
    run = tmp_path_factory.mktemp("reference") / "run"
    assert main(photos.fit(run)) == 0
    return run


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A run again, to do things to."""

    def copied(run: Path) -> Path:
        return Path(shutil.copytree(run, tmp_path / "copied"))

    return copied
