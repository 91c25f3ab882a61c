"""What a file is made of: frames are cropped and resized as images are prepared, and the file is told what it is."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from eyas.data.augment import prepare
from eyas.deploy.parity import reference_of
from eyas.deploy.shipment import CropResize, shares
from eyas.deploy.target import export
from eyas.errors import UserError


def picture(height, width, seed=0):
    """Smooth shapes and noise on the right half, uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    image = np.array(Image.fromarray(random.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((width, height), 3))
    image[:, width // 2 :] = random.integers(0, 256, (height, width - width // 2, 3))
    return image


class TestCropResize:
    @pytest.mark.parametrize(
        ("height", "width", "resolution", "crop"),
        [(120, 160, 56, 1.0), (120, 160, 32, 0.875), (50, 80, 64, 0.8), (33, 33, 33, 1.0), (97, 31, 16, 0.9)],
    )
    def test_is_how_images_are_prepared(self, height, width, resolution, crop):
        image = picture(height, width)
        found = CropResize((height, width), resolution, crop)(torch.from_numpy(image)[None])[0].numpy()
        off = np.abs(found.astype(int) - prepare(image, resolution, crop))
        # Of a tall picture Pillow 13 takes the columns first, and so rounds other numbers in between.
        assert off.max() <= (1 if height <= width else 2)
        assert (off > 0).mean() < (0.01 if height <= width else 0.25)

    def test_every_new_pixel_takes_all_of_itself(self):
        for side, resolution, crop in ((640, 224, 1.0), (48, 64, 0.8), (5, 5, 1.0)):
            weights = shares(side, resolution, crop)
            assert weights.shape == (resolution, side)
            assert weights.sum(1) == pytest.approx(np.ones(resolution), abs=1e-6)


class TestShipment:
    def test_with_a_frame_answers_as_the_network_does_to_the_prepared_picture(self, network, shipment):
        framed = replace(shipment, frame=(40, 50), crop=0.9)
        frames = np.stack([picture(40, 50, seed) for seed in range(4)])
        expected = reference_of(network)(np.stack([prepare(frame, 16, 0.9) for frame in frames]))
        with torch.no_grad():
            found = framed.module()(torch.from_numpy(frames)).numpy()
        assert found == pytest.approx(expected, abs=0.01)
        assert framed.side == (40, 50)

    def test_calibration_images_become_frames_that_show_them(self, shipment):
        corners = np.random.default_rng(0).integers(0, 256, (300, 2, 2, 3), dtype=np.uint8)
        smooth = np.stack([np.array(Image.fromarray(each).resize((16, 16), Image.Resampling.BILINEAR)) for each in corners])
        framed = replace(shipment, frame=(48, 64), crop=0.75, calibration=smooth)
        frames = framed.calibrating()
        assert frames.shape == (256, 48, 64, 3)
        back = CropResize((48, 64), 16, 0.75)(torch.from_numpy(frames)).numpy()
        off = np.abs(back.astype(int) - replace(framed, frame=None).calibrating())
        assert off.mean() < 3

    def test_labels_say_what_goes_in_and_what_comes_out(self, shipment):
        told = replace(shipment, frame=(48, 64), crop=0.75, threshold=0.625).labels()
        assert json.loads(told["classes"]) == ["red", "green", "blue"]
        assert told["input"] == "uint8 [n, 48, 64, 3], RGB"
        assert (told["frame"], told["crop"], told["threshold"], told["resolution"]) == ("48x64", "0.75", "0.625", "16")
        assert {"frame", "threshold"}.isdisjoint(shipment.labels())

    def test_a_frame_without_pixels_is_refused(self, shipment):
        with pytest.raises(UserError, match="a frame of 0x64 has no pixels"):
            replace(shipment, frame=(0, 64))


@pytest.mark.parametrize("target", ["onnx", "onnx-int8"])
def test_a_file_that_takes_frames(network, shipment, validation, target, tmp_path):
    framed = replace(shipment, frame=(24, 32), threshold=0.9)
    artifact = export(framed, tmp_path, target)
    frames = framed.framed(validation[0])
    expected = reference_of(network)(np.stack([prepare(frame, 16) for frame in frames]))
    found = artifact.predictor()(frames)
    assert np.mean(found.argmax(1) == expected.argmax(1)) > 0.97
    assert (artifact.side, artifact.threshold) == ((24, 32), 0.9)
    with pytest.raises(UserError, match=r"takes uint8 images \[n, 24, 32, 3\]"):
        artifact.predictor()(validation[0])
