"""The weights of a checkpoint folder: its tensors by name, read from mapped files.

Mapped pages count as a process's memory once they were read. So they are given back as soon as a tensor is done, and
large tensors are read in pieces: what the reader makes of them is nearly all that is in memory.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from safetensors import safe_open
from torch import Tensor

from evalkit.decoder.files import plain
from evalkit.errors import CheckpointError

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"  # lists the shards of larger models
PICKLE = "pytorch_model.bin"
PICKLE_INDEX = f"{PICKLE}.index.json"

PIECE = 2**22  # bytes of a large tensor that are read at a time
READ_AROUND = 2**16  # bytes that Linux maps around one that is read; other tensors' stay until the file is closed
ZIP = b"PK\x03\x04"  # how torch's files begin; those of before 1.6 cannot be mapped


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of a tensor before it is read."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose tensors can be had by name."""

    path: Path
    names: tuple[str, ...]
    get: Callable[[str], Tensor]
    is_mapped: bool


class Weights:
    """The tensors of a folder, with at most one of its files open at a time; close it when all is read."""

    def __init__(self, folder: Path) -> None:
        """List the tensors; CheckpointError where a file is absent, broken, or a pickle of anything but tensors."""
        self.files, meant = _find(folder)
        self.stored: dict[str, Stored] = {}
        self._opened: Opened | None = None
        self._begun = 0  # tensors that were begun since the file was opened
        for path in self.files:
            opened = self._open(path)
            for name in opened.names:
                earlier = self.stored.get(name)
                if earlier is not None and meant.get(name) not in (earlier.file.name, path.name):
                    raise CheckpointError(
                        f"{folder}: tensor {name} is in {earlier.file.name} and in {path.name}; save the model again"
                    )
                if earlier is None or meant[name] == path.name:
                    self.stored[name] = _describe(opened, name)
        absent = [name for name in meant if name not in self.stored]
        if absent:
            raise CheckpointError(
                f"{folder}: the index says that tensor {absent[0]:.100} is in {meant[absent[0]]}, which lacks it; "
                "download or save the model again"
            )

    @contextmanager
    def read(self, name: str) -> Iterator[Tensor]:
        """Give a tensor, whose pages are given back at the end; its numbers may not be used after that."""
        if self._begun * READ_AROUND > PIECE:
            self.close()
        opened = self._open(self.stored[name].file)
        self._begun += opened.is_mapped
        tensor = opened.get(name)
        yield tensor
        if opened.is_mapped:
            _give_back(tensor)

    def pieces(self, name: str) -> Iterator[Tensor]:
        """Yield a tensor's rows in their order, some at a time; a piece may not be used once the next is asked for."""
        stored = self.stored[name]
        count = max(1, PIECE // max(1, prod(stored.shape[1:]) * stored.dtype.itemsize))
        with self.read(name) as tensor:
            is_mapped = self._open(stored.file).is_mapped
            for first in range(0, stored.shape[0], count):
                piece = tensor[first : first + count]
                yield piece
                if is_mapped:
                    _give_back(piece)

    def close(self) -> None:
        """Let go of the open file."""
        self._opened = None

    def _open(self, path: Path) -> Opened:
        if self._opened is None or self._opened.path != path:
            self.close()  # first, so that two files that cannot be mapped are never in memory together
            self._opened, self._begun = _open(path), 0
        return self._opened


def read_json(path: Path) -> dict[str, Any]:  # Any: JSON
    """Read a JSON object; CheckpointError where there is none."""
    try:
        content = json.loads(plain(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent}: no {path.name}; expected a checkpoint folder") from error
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: found a {type(content).__name__}, expected an object of settings")
    return content


def _find(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Name the files to read, safetensors before pickles, and which of them an index names for each tensor."""
    for whole, index in ((WEIGHTS, INDEX), (PICKLE, PICKLE_INDEX)):
        if (folder / whole).exists():
            return [plain(folder / whole)], {}
        if (folder / index).exists():
            meant = _read_index(folder / index)
            files = [folder / name for name in sorted(set(meant.values()))]
            absent = [file.name for file in files if not os.path.exists(file)]  # Path.exists raises for too long a name
            if absent:
                raise CheckpointError(f"{folder}: {index} lists {', '.join(absent):.200}, which is not there")
            return list(map(plain, files)), meant
    raise CheckpointError(
        f"{folder}: no weights found; expected {WEIGHTS} or {PICKLE}, or {INDEX} or {PICKLE_INDEX} with its shards"
    )


def _read_index(path: Path) -> dict[str, str]:
    """Read which file beside an index holds each tensor."""
    meant = read_json(path).get("weight_map")
    if not isinstance(meant, dict) or not meant:
        raise CheckpointError(f"{path}: weight_map is missing; save the model again")
    for name in meant.values():
        if not isinstance(name, str) or name in ("", "..") or Path(name).name != name or "\\" in name:
            raise CheckpointError(f"{path}: found {name!r:.60}, expected the name of a file beside it")
        if not name.endswith(Path(path.name.removesuffix(".index.json")).suffix):
            raise CheckpointError(f"{path}: found {name!r:.60}, expected files of the form that the index is named for")
    return meant


def _open(path: Path) -> Opened:
    """Open a file by the form that its name tells."""
    return _open_safetensors(path) if path.suffix == ".safetensors" else _open_pickle(path)


def _open_safetensors(path: Path) -> Opened:
    """Map a safetensors file."""
    try:
        file: Any = safe_open(path, framework="pt")  # Any: untyped
        return Opened(path, tuple(file.keys()), file.get_tensor, is_mapped=True)
    except Exception as error:  # a broken header raises SafetensorError, OSError or what its text leads to
        raise CheckpointError(
            f"{path}: not a safetensors file ({_reason(error)}); download or save it again"
        ) from error


def _open_pickle(path: Path) -> Opened:
    """Map a file of torch.save through torch's weights_only loader, which runs no code; read an old one whole."""
    try:
        with path.open("rb") as file:
            is_mapped = file.read(len(ZIP)) == ZIP
        with catch_warnings():
            simplefilter("ignore")  # what torch warns of, it then refuses or reads
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except Exception as error:  # a pickle that is broken or refused raises whatever its bytes lead to
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            raise CheckpointError(
                f"{path}: torch's weights_only loader refuses it, as it asks for {refused[1]}, which is no tensor and "
                "may run code; convert it to safetensors, or try hf:ID"
            ) from error
        raise CheckpointError(
            f"{path}: torch's weights_only loader cannot read it ({_reason(error)}); "
            "download it again, or convert it to safetensors"
        ) from error
    wrong = _not_a_tensor(tensors)
    if wrong is not None:
        raise CheckpointError(f"{path}: found {wrong}, expected a tensor for each name; convert it to safetensors")
    return Opened(path, tuple(tensors), tensors.__getitem__, is_mapped=is_mapped)


def _not_a_tensor(content: object) -> str | None:
    """Say what a pickle holds that is not a plain tensor with a name, if anything."""
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    for name, tensor in content.items():
        if not isinstance(name, str):
            return f"the name {name!r:.40}"
        if not isinstance(tensor, Tensor):
            return f"a {type(tensor).__name__} named {name:.60}"
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            return f"a {str(tensor.layout).removeprefix('torch.')} tensor on {tensor.device} named {name:.60}"
    return None


def _describe(opened: Opened, name: str) -> Stored:
    """Say what is stored under a name; no numbers are read of a mapped file."""
    try:
        tensor = opened.get(name)
    except Exception as error:  # a dtype that this torch lacks raises whatever the library meets
        raise CheckpointError(
            f"{opened.path}: tensor {name} cannot be read ({_reason(error)}); save the model in float32 or bfloat16"
        ) from error
    return Stored(opened.path, tuple(tensor.shape), tensor.dtype)


def _reason(error: Exception) -> str:
    """Give the first sentence of a library's message, without torch's advice to load the file all the same."""
    said = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return said.partition("\n")[0].partition(". ")[0] or type(error).__name__


def _give_back(tensor: Tensor) -> None:
    """Take the pages of a tensor out of the process's memory; whoever reads them again gets them from the file.

    Only pages that the tensor has to itself are given back, so that no other one is touched even if the file was not
    mapped after all. Numbers that are not contiguous keep theirs.
    """
    if not hasattr(mmap, "MADV_DONTNEED") or not tensor.is_contiguous():
        return
    begin, size = tensor.data_ptr(), tensor.nbytes
    first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (begin + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if first < end:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)
