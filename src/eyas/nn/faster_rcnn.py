"""Faster R-CNN (Ren et al. 2015, 1506.01497): regions are proposed on one map, and each is looked at again by itself.

As the MobileNets paper has it (Table 13, after Huang et al., 1611.10012): the region proposal network reads the map of
stride 16; of each of 300 proposals 14x14 places are cut out of that map, and the rest of the network, its last stage, which
strides once more, looks at them.
"""

from jaxtyping import Float
from torch import Tensor, nn

from eyas.arch.spec import Arch
from eyas.nn.blocks import Map
from eyas.nn.detector import COORDINATES, FOUND, LOWEST, OVERLAP, Detector, Found, Truth, coarsest
from eyas.nn.foreign import torchvision_detection

SIZES = (0.1, 0.2, 0.4, 0.8)  # side of the anchors as shares of the image's; each in three shapes
RATIOS = (0.5, 1.0, 2.0)
CUT = 14  # side of what is cut out of the map for a proposal
PROPOSALS = 300
BEFORE = {"training": 2000, "testing": 1000}  # proposals before those that overlap are suppressed
SAMPLED = (256, 64)  # anchors and proposals of an image that are learned from (Huang et al.)


class FasterRcnn(Detector):
    """Faster R-CNN on any network; what the image alone decides is the map that regions are proposed on and cut out of."""

    def __init__(self, arch: Arch, classes: int, drop_path: float = 0.0, norm_momentum: float | None = None) -> None:
        super().__init__(arch, "faster_rcnn", classes, drop_path, norm_momentum)
        detection, _ = torchvision_detection()
        self.tap, last = coarsest(arch)
        sizes = tuple(size * arch.resolution for size in SIZES)
        anchors = detection.anchor_utils.AnchorGenerator((sizes,), (RATIOS,))
        head = detection.rpn.RPNHead(self.tap.channels, len(SIZES) * len(RATIOS))
        kept = dict.fromkeys(BEFORE, PROPOSALS)
        self.rpn = detection.rpn.RegionProposalNetwork(anchors, head, 0.7, 0.3, SAMPLED[0], 0.5, BEFORE, kept, 0.7)
        self.predictor = detection.faster_rcnn.FastRCNNPredictor(last.channels, classes + 1)
        # Its sampling and decoding only: it holds no weights.
        self.regions = detection.roi_heads.RoIHeads(
            None, None, None, 0.5, 0.5, SAMPLED[1], 0.25, COORDINATES, LOWEST, OVERLAP, FOUND
        )

    def tops(self) -> list[nn.Module]:
        """What proposes regions, and what names them."""
        return [self.rpn, self.predictor]

    def classify(self, x: Float[Tensor, "n 3 h w"]) -> Map:
        """Normalised images to the map."""
        for block in self.block_modules():
            if block.stage <= self.tap.stage:
                x = self._through(block, x)
        return x

    def loss(self, raw: Map, truth: list[Truth]) -> dict[str, Tensor]:
        """Both stages' terms; which anchors and proposals are learned from is drawn from torch's generator."""
        assert self.training, "Faster R-CNN proposes other regions for learning than for answers; call train() first"
        detection, _ = torchvision_detection()
        side = self.arch.resolution
        targets = [{"boxes": each.boxes * side, "labels": each.classes + 1} for each in truth]
        proposals, losses = self._propose(raw, targets)
        proposals, _, labels, offsets = self.regions.select_training_samples(proposals, targets)
        found, moved = self._look(raw, proposals)
        classes, places = detection.roi_heads.fastrcnn_loss(found, moved, labels, offsets)
        named = {"proposals": losses["loss_objectness"], "proposed_places": losses["loss_rpn_box_reg"]}
        return {"classes": classes, "places": places, **named}

    def decode(self, raw: Map) -> list[Found]:
        """The best proposals, looked at again, overlaps suppressed."""
        side = self.arch.resolution
        proposals, _ = self._propose(raw, None)
        scores, offsets = self._look(raw, proposals)
        shapes = [(side, side)] * len(raw)
        boxes, certain, labels = self.regions.postprocess_detections(scores, offsets, proposals, shapes)
        return [Found(box / side, label - 1, score) for box, label, score in zip(boxes, labels, certain, strict=True)]

    def whole(self, x: Float[Tensor, "1 3 h w"]) -> Tensor:
        """The map, what proposes regions on it, and the rest of the network on each of 300 regions."""
        raw = self.classify(x)
        self.rpn.head([raw])
        return self._second(raw.new_zeros(PROPOSALS, self.tap.channels, CUT, CUT))[0]

    def _propose(self, raw: Map, targets: list[dict[str, Tensor]] | None) -> tuple[list[Tensor], dict[str, Tensor]]:
        detection, _ = torchvision_detection()
        side, count = self.arch.resolution, len(raw)
        images = detection.image_list.ImageList(raw.new_zeros(()).expand(count, 3, side, side), [(side, side)] * count)
        return self.rpn(images, {"map": raw.float()}, targets)

    def _look(self, raw: Map, proposals: list[Tensor]) -> tuple[Float[Tensor, "p k"], Float[Tensor, "p o"]]:
        _, ops = torchvision_detection()
        scale = raw.shape[-1] / self.arch.resolution
        return self._second(ops.roi_align(raw.float(), proposals, CUT, scale, sampling_ratio=2, aligned=True))

    def _second(self, x: Map) -> tuple[Float[Tensor, "p k"], Float[Tensor, "p o"]]:
        for block in self.block_modules():
            if block.stage > self.tap.stage:
                x = self._through(block, x)
        return self.predictor(x.mean((2, 3)))
