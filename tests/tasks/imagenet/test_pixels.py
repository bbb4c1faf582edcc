"""Decoding and augmentation: what the network sees follows from seed, epoch and image."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tasks.imagenet.pictures import encoded

from hvcod.tasks.imagenet.pixels import AREA, CENTRE, RATIO, TRIES, View, random_box
from hvcod.tasks.imagenet.preparation.archive import all_members
from hvcod.tasks.numbered import uniform


def splitmix(state: int, count: int) -> list[float]:
    """The generator as its authors write it."""
    mask, numbers = (1 << 64) - 1, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        numbers.append(((mixed ^ (mixed >> 31)) >> 11) * 2.0**-53)
    return numbers


def test_the_numbers_are_those_of_splitmix() -> None:
    start = int(np.random.SeedSequence((3, 4)).generate_state(1, np.uint64)[0])
    found = uniform((3, 4), np.arange(5), 7)
    assert found.ravel().tolist() == splitmix(start, 35)
    # In any order, and alone.
    assert (uniform((3, 4), np.array([2]), 7)[0] == found[2]).all()
    assert (uniform((3, 5), np.arange(5), 7) != found).all()


def test_the_numbers_are_even() -> None:
    found = uniform((1,), np.arange(100_000), 2)
    assert ((found >= 0) & (found < 1)).all()
    assert abs(found.mean() - 0.5) < 0.003
    assert abs(np.asarray(np.corrcoef(found.T))[0, 1]) < 0.01
    assert abs(np.asarray(np.corrcoef(found[1:, 0], found[:-1, 0]))[0, 1]) < 0.01


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 2**40))
def test_a_random_part_lies_within_the_image(width: int, height: int, image: int) -> None:
    draws = uniform((1,), np.array([image]), View.draws)[0]
    left, top, right, bottom = random_box(width, height, draws)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_random_parts_have_the_areas_and_shapes_of_the_recipe() -> None:
    draws = uniform((1,), np.arange(5000), View.draws)
    boxes = np.array([random_box(500, 375, each) for each in draws])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    areas, ratios = widths * heights / (500 * 375), widths / heights
    assert (areas.min() > AREA[0] - 0.005, areas.max() <= 1) == (True, True)
    assert areas.min() < 0.09
    assert areas.max() > 0.9
    assert RATIO[0] - 0.01 < ratios.min() < ratios.max() < RATIO[1] + 0.01
    # As far to the left as to the right.
    assert abs(((boxes[:, 0] + boxes[:, 2]) / 2).mean() - 250) < 3


def test_an_image_without_a_fitting_part_gives_its_middle() -> None:
    draws = np.full(View.draws, 0.999)
    draws[TRIES : 2 * TRIES] = 0.0  # as high as may be, in an image that is low
    assert random_box(1000, 100, draws) == (433, 0, 566, 100)


def test_the_evaluated_view_is_the_middle_of_the_image() -> None:
    """As after scaling the shorter side to 256 and cutting out 224."""
    columns = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (128, 1, 3))
    view = View(112, "resized-crop").evaluation(encoded(columns, "PNG"))
    side = 128 * CENTRE
    assert abs(int(view[0, 0, 0]) - (128 - side / 2)) <= 1
    assert abs(int(view[0, -1, 0]) - (128 + side / 2)) <= 1
    whole = View(128, "crop").evaluation(encoded(columns, "PNG"))
    assert (whole == columns[:, 64:192]).all()


def test_a_small_image_is_shifted_by_all_distances_and_mirrored() -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (16, 16, 3), np.uint8)
    content = encoded(pixels, "PNG")
    padded = np.pad(pixels, ((2, 2), (2, 2), (0, 0)))
    possible = {
        each.tobytes(): (y, x, mirrored)
        for y in range(5)
        for x in range(5)
        for mirrored, each in enumerate(
            (padded[y : y + 16, x : x + 16], padded[y : y + 16, x : x + 16][:, ::-1])
        )
    }
    view = View(16, "crop")
    draws = uniform((1,), np.arange(1000), view.draws)
    seen = [possible[view.training(content, each).tobytes()] for each in draws]
    assert len(set(seen)) == 50
    assert 400 < sum(mirrored for _, _, mirrored in seen) < 600


def test_no_augmentation_is_the_evaluated_view() -> None:
    content = encoded(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8), "PNG")
    view = View(16, "none")
    assert (view.training(content, np.zeros(view.draws)) == view.evaluation(content)).all()


def test_full_size_images_are_decoded_at_a_fraction_and_look_the_same(real_data: Path) -> None:
    """Against decoding at full size: what is saved changes a pixel by little."""
    members = all_members(real_data / "images" / "imagenet-fullsize-72.tar")
    for content in [member.content or b"" for member in itertools.islice(members, 12)]:
        image = Image.open(io.BytesIO(content)).convert("RGB")
        side = min(image.size) * CENTRE
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        exact = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR, box=box), np.int64)
        ours = View(64, "resized-crop").evaluation(content)
        assert np.abs(ours - exact).mean() < 6  # of 256; 4 at most were seen


@pytest.mark.parametrize("augmentation", ["crop", "resized-crop"])
def test_what_a_view_is_follows_from_its_numbers(augmentation: str) -> None:
    content = encoded(np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8))
    view = View(16, augmentation)
    draws = uniform((1,), np.arange(2), view.draws)
    first, second = view.training(content, draws[0]), view.training(content, draws[1])
    assert (first == view.training(content, draws[0])).all()
    assert (first != second).any()
