"""Media: which frames, how they are read, how they are cropped. `video` and `check` are imported by name, since they load FFmpeg.

Public here: `Decoder` (frames of videos within a time limit), `frame_positions`, `decode_image` and `check_image`, and the two
transforms of a clip, `RandomResizedCropFlip` (training) and `Resize` (evaluation).
"""

from pipeline.media.decoder import Decoder
from pipeline.media.images import check_image, decode_image
from pipeline.media.sampling import frame_positions
from pipeline.media.transforms import RandomResizedCropFlip, Resize

__all__ = ["Decoder", "RandomResizedCropFlip", "Resize", "check_image", "decode_image", "frame_positions"]
