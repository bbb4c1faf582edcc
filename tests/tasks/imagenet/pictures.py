"""Small images, and folders and tar files of them."""

import gzip
import io
import lzma
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from PIL import Image

from hvcod import config
from hvcod.tasks.imagenet.dataset import PARTS, ImageDataset
from hvcod.tasks.imagenet.preparation.inputs import find_sources
from hvcod.tasks.imagenet.preparation.options import PrepareOptions
from hvcod.tasks.imagenet.preparation.prepare import ImagePreparation

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Files = dict[str, bytes]

CODECS = {
    ".tar": lambda content: content,
    ".tar.gz": gzip.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstd.compress,
}


def encoded(pixels: Any, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    """Pixels as an image file."""
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.convert(mode).save(file, kind)
    return file.getvalue()


def picture(seed: int, size: int = 16, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    """One image of noise, coarse enough for a JPEG to keep."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size // 4, size // 4, 3), np.uint8)
    return encoded(coarse.repeat(4, axis=0).repeat(4, axis=1), kind, mode)


def class_files(classes: Sequence[str], each: int, above: str = "", size: int = 16) -> Files:
    """{path: image} of a class-folder layout."""
    return {
        f"{above}{name}/{name}_{number}.JPEG": picture(hash_of(name) + number, size)
        for name in classes
        for number in range(each)
    }


def hash_of(name: str) -> int:
    return sum(ord(letter) * 1000 for letter in name)


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tar_bytes(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """A tar file, compressed as its name says."""
    suffix = next(each for each in sorted(CODECS, reverse=True) if path.name.endswith(each))
    path.write_bytes(CODECS[suffix](tar_bytes(files)))
    return path


def packed(inputs: Sequence[Path], output: Path, **options: Any) -> dict[str, Any]:
    """Prepares a dataset and returns its report."""
    sources = find_sources([str(path) for path in inputs])
    chosen = config.resolve(PrepareOptions, [options])
    return ImagePreparation(sources, output, chosen, MPI.COMM_SELF).run()


def everything(folder: Path) -> dict[str, dict[str, tuple[str, bytes]]]:
    """{part: {id: (class, bytes)}} of a dataset; the class of an unlabelled image is empty."""
    dataset = ImageDataset(folder)
    classes = [*dataset.classes, ""]
    found = {}
    for part in PARTS:
        images = dataset.parts[part]
        ids = images.ids(np.arange(len(images)))
        assert len(set(ids)) == len(ids)
        found[part] = {
            name: (classes[images.labels[number]], images.read(number))
            for number, name in enumerate(ids)
        }
    return found
