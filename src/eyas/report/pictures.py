"""Images as `data:` addresses, so that a page holds its pictures itself."""

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

LOSSLESS = 96  # pixels of the longer side up to which an image is kept as it is, pixel by pixel
THUMBNAIL = 256  # pixels of the longer side of what is shown of a larger image: twice its size on the page
QUALITY = 85  # of JPEG


def data_uri(image_hwc: UInt8[np.ndarray, "_ _ _"]) -> str:
    """A small image as PNG, unchanged; a larger one as a JPEG thumbnail. Grey images have one channel, colour ones three."""
    picture = Image.fromarray(image_hwc[:, :, 0] if image_hwc.shape[2] == 1 else image_hwc)
    buffer = io.BytesIO()
    if max(picture.size) <= LOSSLESS:
        picture.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
