"""What HDF5 allows and hvcod never writes: each is refused by its own check, digest and all."""

import io
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from exchange.support import EXPECTED, checkpoint, crafted, sealed
from h5py import h5d, h5p, h5s, h5t, h5z
from tensorfile.refusing import NAME, SHAPE, refused, replacing, say_source

from hvcod.errors import HvcodError
from hvcod.exchange.read import decode
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.layout import USER_BLOCK


def test_the_untouched_checkpoint_is_accepted() -> None:
    metadata, tensors = decode(crafted(lambda file: None), EXPECTED)
    assert metadata.step == 50
    assert list(tensors) == list(EXPECTED)


def test_a_dataset_rewritten_as_hvcod_would_is_accepted() -> None:
    """The tests below change one thing in this."""
    values = np.full(SHAPE, 0.25, "<f2")
    data = crafted(replacing(lambda file: file.create_dataset(NAME, data=values)))
    assert torch.equal(decode(data, EXPECTED)[1][NAME], torch.full(SHAPE, 0.25).half())


def test_soft_link() -> None:
    refused(replacing(lambda f: f.__setitem__(NAME, h5py.SoftLink("/lstm.0.bias"))), "link")


def test_dangling_soft_link() -> None:
    refused(replacing(lambda f: f.__setitem__(NAME, h5py.SoftLink("/nowhere"))), "link")


def test_a_name_behind_a_link_or_a_group_is_never_looked_up(tmp_path: Path) -> None:
    """Intermediate links: only what lies in the root itself counts, whatever it is called."""
    trap = tmp_path / "trap.h5"
    os.mkfifo(trap)

    def change(file: h5py.File) -> None:
        file["folder"] = h5py.ExternalLink(str(trap), "/")

    refused(change, "tensor folder is a soft or external link")
    refused(lambda f: f.create_group("folder/inner"), "tensor folder is not a dataset")
    refused(lambda f: f.__setitem__("folder", h5py.SoftLink("/folder")), "link")


def test_external_link_is_not_followed(tmp_path: Path) -> None:
    trap = tmp_path / "trap.h5"
    os.mkfifo(trap)  # whoever opens it waits for ever
    link = h5py.ExternalLink(str(trap), "/values")
    refused(replacing(lambda f: f.__setitem__(NAME, link)), f"tensor {NAME} is .*external link")


def test_external_storage_is_not_opened(tmp_path: Path) -> None:
    trap = tmp_path / "trap.bin"
    os.mkfifo(trap)

    def put(file: h5py.File) -> None:
        # Made by hand: h5py would make the file's values at once.
        plan = h5p.create(h5p.DATASET_CREATE)
        plan.set_external(str(trap).encode(), 0, 64)
        plan.set_alloc_time(h5d.ALLOC_TIME_LATE)
        space = h5s.create_simple(SHAPE)
        h5d.create(file.id, NAME.encode(), h5t.IEEE_F16LE, space, plan)

    refused(replacing(put), "external storage")


def test_virtual_dataset_is_not_followed(tmp_path: Path) -> None:
    trap = tmp_path / "trap.h5"
    os.mkfifo(trap)

    def put(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(SHAPE, "<f2")
        layout[:] = h5py.VirtualSource(str(trap), "values", SHAPE)
        file.create_virtual_dataset(NAME, layout)

    refused(replacing(put), "virtual")


def test_unlimited_virtual_dataset_is_not_followed(tmp_path: Path) -> None:
    trap = tmp_path / "trap.h5"
    os.mkfifo(trap)

    def put(file: h5py.File) -> None:
        source = h5py.VirtualSource(str(trap), "values", (8, 4), maxshape=(None, 4))
        layout = h5py.VirtualLayout(SHAPE, "<f2", maxshape=(None, 4))
        layout[0 : h5s.UNLIMITED, :] = source[0 : h5s.UNLIMITED, :]
        file.create_virtual_dataset(NAME, layout)

    refused(replacing(put), "virtual")


@pytest.mark.parametrize(
    "options",
    [{"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}, {"fletcher32": True}],
)
def test_filters(options: dict[str, object]) -> None:
    refused(replacing(lambda f: f.create_dataset(NAME, SHAPE, "<f2", **options)), "filtered")


def test_unknown_filter() -> None:
    def put(file: h5py.File) -> None:
        plan = h5p.create(h5p.DATASET_CREATE)
        plan.set_chunk((8, 4))
        plan.set_filter(32_099, h5z.FLAG_OPTIONAL, (1, 2, 3))
        h5d.create(file.id, NAME.encode(), h5t.IEEE_F16LE, h5s.create_simple(SHAPE), plan)

    refused(replacing(put), "filtered")


def test_chunks() -> None:
    options = {"chunks": (2, 2)}
    refused(replacing(lambda f: f.create_dataset(NAME, SHAPE, "<f2", **options)), "contiguously")


def test_compact_layout() -> None:
    def put(file: h5py.File) -> None:
        plan = h5p.create(h5p.DATASET_CREATE)
        plan.set_layout(h5d.COMPACT)
        h5d.create(file.id, NAME.encode(), h5t.IEEE_F16LE, h5s.create_simple(SHAPE), plan)

    refused(replacing(put), "not stored contiguously")


def test_a_group_in_place_of_a_dataset() -> None:
    refused(replacing(lambda f: f.create_group(NAME)), f"tensor {NAME} is not a dataset")


def test_a_cycle() -> None:
    refused(replacing(lambda f: f.__setitem__(NAME, f["/"])), "is not a dataset")


def test_a_named_type_in_place_of_a_dataset() -> None:
    refused(replacing(lambda f: f.__setitem__(NAME, np.dtype("<f2"))), "is not a dataset")


def test_unknown_name() -> None:
    def change(file: h5py.File) -> None:
        file["lstm.9.weight"] = np.zeros(3, "<f2")
        say_source(file, "lstm.9.weight")

    refused(change, "tensor lstm.9.weight is not in the local model")


def test_missing_name() -> None:
    refused(lambda f: f.__delitem__(NAME), f"tensor {NAME} is missing")


def test_an_image_that_is_not_hdf5() -> None:
    data = checkpoint()
    junk = data[:USER_BLOCK] + b"\x5a" * (len(data) - USER_BLOCK)
    with pytest.raises(RefusedError, match="libhdf5 cannot read its image"):
        decode(sealed(junk), EXPECTED)


def test_damage_under_a_right_digest_never_gets_beyond_an_error() -> None:
    """Not what the digest is for, but no such file may do more than fail."""
    data = checkpoint()
    rng = np.random.default_rng(3)
    refusals = 0
    for _ in range(300):
        changed = bytearray(data)
        for place in rng.integers(USER_BLOCK, len(data), 3):
            changed[place] ^= int(rng.integers(1, 256))
        try:
            _, tensors = decode(sealed(bytes(changed)), EXPECTED)
        except HvcodError:
            refusals += 1
        else:
            assert {name: tuple(t.shape) for name, t in tensors.items()} == {
                name: spec.shape for name, spec in EXPECTED.items()
            }
    assert refusals > 30


def test_a_file_with_user_block_but_made_by_others() -> None:
    image = io.BytesIO()
    with h5py.File(image, "w", userblock_size=USER_BLOCK) as file:
        file["x"] = 1
    with pytest.raises(RefusedError, match="tensor x does not say of what type it was"):
        decode(sealed(image.getvalue()), EXPECTED)
