"""Pictures as video and back."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.data.formats.libraries import library
from resfit_ros.data.formats.options import LOSSLESS

# Pictures between two that stand alone are few, so that any one is found fast; LeRobot does the same.
KEY_FRAMES = 2
PIXELS = {"libx264rgb": "rgb24", "ffv1": "bgr0"}
SETTINGS = {
    "libx264rgb": {"qp": "0", "preset": "medium", "bf": "0"},
    "libx264": {"preset": "medium", "bf": "0"},
    "libsvtav1": {"preset": "8", "svtav1-params": "fast-decode=0"},
    "ffv1": {"level": "3"},
}


class VideoFile:
    """A video being written, one picture per control step. size_bytes: so far, without what is held back.

    Raises ConfigError where the codec is not built in, or cannot store pictures of this size.
    """

    def __init__(self, path: Path, codec: str, fps: Fraction, size: tuple[int, int], crf: int) -> None:
        av = library("av")
        os.environ.setdefault("SVT_LOG", "1")  # else SVT-AV1 prints its settings for every file
        lossy = codec not in LOSSLESS
        if lossy and (size[0] % 2 or size[1] % 2):
            raise ConfigError(
                f"video: {codec} needs an even width and height, pictures are {size[0]} x {size[1]} px; "
                "store them as PNG, or with libx264rgb"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        self._av, self._fps, self.path, self.frames, self.size_bytes = av, fps, path, 0, 0
        try:
            self._container = av.open(str(path), "w", options={"strict": "-2"})
            self._stream: Any = self._container.add_stream(codec, rate=fps)
        except (av.error.FFmpegError, av.codec.codec.UnknownCodecError, ValueError) as error:
            raise ConfigError(
                f"video: {codec} is not in this build of PyAV ({error}); choose another"
            ) from None
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = PIXELS.get(codec, "yuv420p")
        self._stream.gop_size = KEY_FRAMES
        self._stream.options = SETTINGS[codec] | ({"crf": str(crf)} if lossy else {})

    def add(self, pictures: NDArray[np.uint8]) -> None:
        """Appends pictures (n, H, W, 3)."""
        for picture in pictures:
            frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = self.frames, 1 / self._fps
            self._encode(frame.reformat(format=self._stream.pix_fmt))
            self.frames += 1

    def _encode(self, frame: Any) -> None:
        try:
            packets = self._stream.encode(frame)
            self._container.mux(packets)
            self.size_bytes += sum(packet.size for packet in packets)
        except self._av.error.FFmpegError as error:
            raise DataError(
                f"{self.path} cannot be written ({error}); nothing is left of the dataset"
            ) from None

    @property
    def coding(self) -> tuple[str, str]:
        """Names of the codec, e.g. "h264", and of the pixel format."""
        return self._stream.codec_context.codec.canonical_name, self._stream.pix_fmt

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return float(self.frames / self._fps)

    def close(self) -> None:
        """Finishes the file."""
        container, self._container = self._container, None
        if container is None:
            return
        try:
            if self.frames:
                container.mux(self._stream.encode(None))
            container.close()
        except self._av.error.FFmpegError as error:
            raise DataError(
                f"{self.path} cannot be written ({error}); nothing is left of the dataset"
            ) from None


def read_video(path: Path, from_s: float, count: int, fps: float) -> NDArray[np.uint8]:
    """Up to `count` pictures from a time on, uint8 (n, H, W, 3); fewer where the video ends or is damaged.

    Raises DataError where it cannot be opened or gives no picture there.
    """
    av = library("av")
    if not path.is_file():
        raise DataError(f"{path} is missing; fetch it again, or give images=false")
    pictures: list[NDArray[np.uint8]] = []
    reason = "it ends before"
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if from_s > 0:
                container.seek(int(from_s / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                place = round((float(frame.time) - from_s) * fps)
                if place == len(pictures):
                    pictures.append(frame.to_ndarray(format="rgb24"))
                if place > len(pictures) or len(pictures) == count:
                    break
    except (av.error.FFmpegError, OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error).split("\n")[0]  # the pictures before the damage are good
    if not pictures:
        raise DataError(
            f"{path} has no picture at {from_s:g} s ({reason}); fetch it again, or give images=false"
        )
    return np.stack(pictures)
