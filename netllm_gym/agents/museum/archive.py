"""Released weights of published agents, brought from pinned archives: fetched once, verified by digest, kept as arrays.

Nothing ships with the package: the files are their authors'. The first use fetches them (``NETLLM_GYM_MIRROR`` counts),
checks every byte against a pinned digest and keeps the tensors in the cache.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.museum.bundle import read_bundle
from netllm_gym.errors import CheckpointError, MissingExtraError
from netllm_gym.files import atomic_path, cache_dir
from netllm_gym.traces.fetch import Source, fetch_files

Floats = NDArray[np.float32]
Tensors = dict[str, Floats]

NETLLM = Source("duowuyms/NetLLM", "105bcf070f2bec808f7b14f8f5a953de6e4e6e54")
PENSIEVE = Source("hongzimao/pensieve", "1120bb173958dc9bc9f2ebff1a8fe688b6f4e93c")
PENSIEVE_PPO = Source("yindaheng98/Pensieve-PPO", "2bedc6eb5e3aa2c94916f4d371569822e7552182")
MOST_VALUES = 1 << 22  # the largest of these networks has 0.7 million


@dataclass(frozen=True)
class Exhibit:
    """The weights of one published agent.

    Attributes:
        source: repository and commit.
        files: path inside it; of a TensorFlow checkpoint the part that its two files share.
        sha256: content digest of the file or files (:func:`netllm_gym.traces.fetch.content_digest`).
        shapes: the tensors that the network reads, and what shape they must have.
        trained_on: trace set whose train split its authors trained on, where that can be told.
        why: how it can be told: no checkpoint says what it was trained on, so it is an inference.
    """

    source: Source
    files: str
    sha256: str
    shapes: Mapping[str, tuple[int, ...]]
    trained_on: str | None = None
    why: str = ""

    def tensors(self) -> Tensors:
        """Return the weights by name.

        Raises:
            DownloadError: they cannot be had, or differ from the pinned content.
            CheckpointError: a file that does not hold what the network reads.
            MissingExtraError: a torch file without torch.
        """
        kept = cache_dir() / "museum" / f"{self.sha256}.npz"
        found = _kept(kept)
        if found is None or not self._fits(found):
            wanted = (
                [self.files]
                if self.files.endswith((".pth", ".pt"))
                else [f"{self.files}.index", f"{self.files}.data-*"]
            )
            found = read(fetch_files(self.source, wanted, self.sha256))
            self.check(found)
            found = {name: found[name] for name in self.shapes}
            with atomic_path(kept) as path, path.open("wb") as sink:
                np.savez(sink, **found)  # type: ignore[arg-type]
        return found

    def _fits(self, found: Tensors) -> bool:
        return all(name in found and found[name].shape == shape for name, shape in self.shapes.items())

    def check(self, found: Tensors) -> None:
        """Refuse tensors that are missing, of another shape, or not finite.

        Raises:
            CheckpointError: naming the first.
        """
        for name, shape in self.shapes.items():
            if name not in found:
                raise CheckpointError(f"{self.files} holds no tensor {name}")
            if found[name].shape != shape:
                raise CheckpointError(f"{self.files}: {name} has shape {found[name].shape}, the network wants {shape}")
            if not np.isfinite(found[name]).all():
                raise CheckpointError(f"{self.files}: {name} holds numbers that are not finite")


def _kept(path: Path) -> Tensors | None:
    """Return what the cache holds; ``None`` when nothing is there or it is damaged, and must be fetched again."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name].astype(np.float32) for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def read(files: Mapping[str, bytes]) -> Tensors:
    """Return the tensors of one torch file, or of the two files of a TensorFlow checkpoint.

    Raises:
        CheckpointError: anything else, or damaged ones. MissingExtraError: a torch file without torch.
    """
    index = [data for path, data in files.items() if path.endswith(".index")]
    shards = [data for path, data in files.items() if ".data-" in path]
    if index:
        if len(index) != 1 or len(shards) != 1:
            raise CheckpointError(f"a checkpoint is one index and one file of data, got {len(index)} and {len(shards)}")
        return read_bundle(index[0], shards[0])
    (path, data), *more = files.items()
    if more:
        raise CheckpointError(f"a torch checkpoint is one file, got {', '.join(files)}")
    return _torch(path, data)


def _torch(path: str, data: bytes) -> Tensors:
    """Read a state dict, or a list of them (the first counts), without running anything that is in it."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError("llm", f"the published weights {Path(path).name}") from None
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its parts raise
        raise CheckpointError(f"{path}: not a torch checkpoint of plain tensors ({type(error).__name__})") from None
    if isinstance(state, list | tuple) and state:
        state = state[0]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: not a table of tensors")
    if sum(value.numel() for value in state.values()) > MOST_VALUES:
        raise CheckpointError(f"{path}: more than {MOST_VALUES} values")
    return {str(name): value.detach().to(torch.float32).numpy() for name, value in state.items()}
