"""Parity from the encoded files: a page that makes something else of a picture than training did breaks the contract."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eyas.cli import main
from eyas.data.batches import stacked
from eyas.deploy import predict as page
from eyas.deploy.parity import CONTRACTS, Classes, breaches, check
from eyas.errors import ContractError
from eyas.progress import listening
from eyas.recipe import Splits
from eyas.run import Run
from eyas.studies.encoded import Encoded
from eyas.studies.prepare import Data, prepare
from tests.heard import Heard
from tests.images import encoded, image, picture, put

CROP = 0.5
FACTS = {"resolution": 16, "crop": CROP, "frame": None}


def coloured(count: int = 12) -> dict[str, bytes]:
    """Pictures of two classes, red and blue in the middle, on a border of the other colour, in several formats."""
    files = {}
    for number in range(2 * count):
        pixels = picture(number, 60, 70) // 8
        label = ("blue", "red")[number % 2]
        middle, border = (2, 0) if label == "blue" else (0, 2)
        pixels[..., border] += 150
        pixels[15:45, 17:53, :] //= 4
        pixels[15:45, 17:53, middle] += 180
        options = {"JPEG": {"quality": 95, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}}
        kind = list(options)[number % 3]
        files[f"{label}/{number:03}.{kind.lower()}"] = encoded(Image.fromarray(pixels), kind, **options[kind])
    return files


def as_folder(root: Path) -> str:
    for name, content in coloured().items():
        put(root / name, content)
    return str(root)


def as_parquet(root: Path) -> str:
    rows = coloured()
    images = [{"bytes": content, "path": name} for name, content in rows.items()]
    put(root / "list.parquet", b"")
    pq.write_table(pa.table({"image": images, "label": [name.split("/")[0] for name in rows]}), root / "list.parquet")
    return str(root / "list.parquet")


def as_shard(root: Path) -> str:
    root.mkdir(parents=True)
    with tarfile.open(root / "0.tar", "w") as file:
        for number, (name, content) in enumerate(coloured().items()):
            for suffix, data in ((name.rpartition(".")[2], content), ("cls", name.split("/")[0].encode())):
                info = tarfile.TarInfo(f"{number:04}.{suffix}")
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return str(root / "0.tar")


def prepared(run: Path, source: str) -> Data:
    with Run.open(run) as opened:
        return prepare(opened, source, None, 0, Splits(), 16, 0, view=CROP)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Prepared images whose files no test touches."""
    folder = tmp_path_factory.mktemp("encoded")
    return prepared(folder / "run", as_folder(folder / "data"))


@pytest.fixture
def own(tmp_path: Path) -> Data:
    """The same, with files that a test may spoil."""
    return prepared(tmp_path / "run", as_folder(tmp_path / "data"))


def stored(data: Data) -> np.ndarray:
    """What the trained network was shown."""
    return stacked(data.examples("validation"), 16, CROP)


def files_of(data: Data) -> list[Path]:
    return [Path(source) for source in data.manifest.where(split="validation").column("source")]


class TestImages:
    @pytest.mark.parametrize("source", [as_folder, as_parquet, as_shard])
    def test_are_those_that_the_network_was_shown_wherever_they_are_kept(self, tmp_path, source):
        data = prepared(tmp_path / "run", source(tmp_path / "data"))
        seen = Encoded(data).images("validation", FACTS)
        assert len(seen) >= 4
        assert np.array_equal(seen, stored(data))

    def test_are_read_once_for_all_files_that_take_the_same(self, data, monkeypatch):
        encoded, decoded, decode = Encoded(data), [], page.decode
        monkeypatch.setattr(page, "decode", lambda source: decoded.append(1) or decode(source))
        first = encoded.images("validation", FACTS)
        assert encoded.images("validation", dict(FACTS)) is first
        assert len(decoded) == len(first)
        assert encoded.images("validation", {**FACTS, "frame": [30, 40]}).shape == (len(first), 30, 40, 3)

    def test_whose_files_are_gone_or_others_now_are_the_prepared_ones(self, own):
        gone, other, broken, *_ = files_of(own)
        gone.unlink()
        other.write_bytes(encoded(image(99, 60, 70), "PNG"))
        broken.write_bytes(b"no picture")
        said = Heard()
        with listening(said):
            assert np.array_equal(Encoded(own).images("validation", FACTS), stored(own))
        (sentence,) = said.said
        assert sentence.startswith(f"the files of 3 of {len(stored(own))} validation images are gone, or others than")

    def test_that_only_the_page_cannot_read_break_the_contract(self, data, monkeypatch):
        def decode(_):
            raise page.Unreadable("not an image")

        monkeypatch.setattr(page, "decode", decode)
        with pytest.raises(ContractError, match=r"predict\.py of the exported file cannot read .*: not an image"):
            Encoded(data).images("validation", FACTS)


def network(images: np.ndarray) -> np.ndarray:
    """Knows one thing: whether there is more red or more blue."""
    means = images.mean((1, 2), dtype=np.float32)
    odds = np.exp(np.stack([means[:, 2], means[:, 0]], 1) / 20)
    return odds / odds.sum(1, keepdims=True)


class TestParity:
    def broken(self, data: Data) -> list[str]:
        labels = data.examples("validation").targets.argmax(1)
        seen = Encoded(data).images("validation", FACTS)
        return breaches(check(network, network, stored(data), Classes(labels), seen=seen), CONTRACTS["float32"])

    def test_holds_for_the_page_as_it_is(self, data):
        assert network(stored(data)).argmax(1).tolist() == data.examples("validation").targets.argmax(1).tolist()
        assert self.broken(data) == []

    @pytest.mark.parametrize("mistake", ["channel order", "crop", "range", "turned"])
    def test_breaks_with_a_page_that_is_wrong(self, data, monkeypatch, mistake):
        shown, decode = page.shown, page.decode
        wrong = {
            "channel order": ("shown", lambda picture, facts: shown(picture, facts)[..., ::-1]),
            "crop": ("shown", lambda picture, facts: shown(picture, {**facts, "crop": 1.0})),
            "range": ("shown", lambda picture, facts: shown(picture, facts) // 2),
            "turned": ("decode", lambda source: np.roll(decode(source), 30, 0)),
        }
        monkeypatch.setattr(page, *wrong[mistake])
        assert self.broken(data)


@pytest.mark.xdist_group("fit")
def test_a_file_whose_page_is_wrong_does_not_ship(reference, copy_of, monkeypatch, capsys):
    run = copy_of(reference)
    shown = page.shown
    monkeypatch.setattr(page, "shown", lambda picture, facts: 255 - shown(picture, facts))
    assert main(["export", str(run), "--to", "onnx", "--budget", "size<=1MB"]) == 1
    assert "not fit to ship: onnx: " in capsys.readouterr().err
    assert page.about(run / "artifacts" / "onnx")["status"] == "rejected"
