"""Pictures: files, compositing, resampling without fringes, and the colour matte against a known one."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from stages.lib import images
from stages.lib.images import ImageError, Window


def disc(size: int, radius: float, colour=(200, 30, 40), background=(255, 255, 255)) -> tuple[np.ndarray, np.ndarray]:
    """An anti-aliased disc on a background, (size, size, 3) uint8, and its true alpha in [0, 1]."""
    centres = (np.arange(4 * size) + 0.5) / 4 - size / 2
    inside = (centres[:, None] ** 2 + centres**2 < radius**2).astype(float)
    alpha = inside.reshape(size, 4, size, 4).mean(axis=(1, 3))
    picture = alpha[..., None] * np.array(colour) + (1 - alpha[..., None]) * np.array(background)
    return (picture + 0.5).astype(np.uint8), alpha


# ------------------------------------------------------------------ files


def test_png_round_trip_is_exact_atomic_and_reproducible(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    images.write_png(tmp_path / "a.png", rgba)
    images.write_png(tmp_path / "b.png", rgba)
    assert np.array_equal(images.read(tmp_path / "a.png"), rgba)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(TypeError):
        images.write_png(tmp_path / "c.png", rgba.astype(np.float64))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_read_keeps_transparency_of_palettes_and_drops_none(tmp_path):
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "p.png", transparency=0)
    assert images.read(tmp_path / "p.png").tolist() == [[[255, 0, 0, 0], [0, 255, 0, 255]]]
    Image.fromarray(np.array([[7]], dtype=np.uint8)).save(tmp_path / "grey.png")
    assert images.read(tmp_path / "grey.png").tolist() == [[[7, 7, 7]]]
    Image.fromarray(np.array([[0xAB12]], dtype=np.uint16)).save(tmp_path / "deep.png")
    assert images.read(tmp_path / "deep.png").tolist() == [[[0xAB, 0xAB, 0xAB]]]


def test_read_turns_a_photograph_upright(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6  # stored lying on its side
    Image.fromarray(np.zeros((4, 9, 3), dtype=np.uint8)).save(tmp_path / "phone.png", exif=tags)
    assert images.read(tmp_path / "phone.png").shape == (9, 4, 3)


@pytest.mark.parametrize("kept", [0, 40, 300])
def test_corrupt_picture(tmp_path, kept):
    path = tmp_path / "3.png"
    images.write_png(path, np.random.default_rng(0).integers(0, 256, (32, 32, 4), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ImageError, match=r"3\.png cannot be read as a picture .* expected a whole PNG"):
        images.read(path)


def test_missing_picture(tmp_path):
    with pytest.raises(ImageError, match=r"3\.png does not exist"):
        images.read(tmp_path / "3.png")


# ------------------------------------------------------------------ alpha


def test_over_by_hand():
    rgba = np.array([[255, 0, 0, 255], [255, 0, 0, 51], [9, 9, 9, 0]], dtype=np.uint8)
    assert np.allclose(images.over_white(rgba), [[1, 0, 0], [1, 0.8, 0.8], [1, 1, 1]], atol=1e-6)
    assert np.allclose(images.over(rgba, (0, 0, 1)), [[1, 0, 0], [0.2, 0, 0.8], [0, 0, 1]], atol=1e-6)
    assert images.over_white(rgba).dtype == np.float32


def test_noise_alpha_of_stag4d_is_removed():
    rgba = np.array([[128, 128, 128, 1], [5, 6, 7, 2], [5, 6, 7, 255]], dtype=np.uint8)
    assert images.without_noise(rgba).tolist() == [[0, 0, 0, 0], [5, 6, 7, 2], [5, 6, 7, 255]]
    assert rgba[0, 3] == 1


def test_has_alpha():
    opaque = np.full((2, 2, 4), 255, dtype=np.uint8)
    assert not images.has_alpha(opaque) and not images.has_alpha(opaque[..., :3])
    opaque[0, 0, 3] = 254
    assert images.has_alpha(opaque)


def test_straighten_undoes_premultiply_where_there_is_alpha():
    rgba = np.random.default_rng(1).integers(0, 256, (40, 40, 4), dtype=np.uint8)
    rgba[0, 0, 3] = 0
    back = images.straighten(images.premultiply(rgba))
    assert np.array_equal(back[rgba[..., 3] > 0], rgba[rgba[..., 3] > 0])
    assert back[0, 0].tolist() == [0, 0, 0, 0]


# ------------------------------------------------------------------ resampling


def test_no_fringe_from_the_colour_of_transparent_pixels():
    """A red square in transparent green: averaging straight colours would leave green in its edge."""
    rgba = np.zeros((36, 36, 4), dtype=np.uint8)
    rgba[..., 1] = 255
    rgba[7:28, 7:28] = (255, 0, 0, 255)
    small = images.resample(rgba, Window(0, 0, 36), 8)
    seen = small[small[..., 3] > 0]
    assert ((seen[:, 3] > 0) & (seen[:, 3] < 255)).any()
    assert (seen[:, :3] == (255, 0, 0)).all()
    assert (small[small[..., 3] == 0] == 0).all()
    assert small[..., 3].mean() == pytest.approx(rgba[..., 3].mean(), abs=1.0)


def test_window_beyond_the_picture_is_transparent_and_whole_pixels_stay():
    rgba = np.random.default_rng(2).integers(1, 256, (3, 5, 4), dtype=np.uint8)
    square = images.resample(rgba, images.padded_square(3, 5), 5)
    assert images.padded_square(3, 5) == Window(0, -1, 5)
    assert np.array_equal(square[1:4], rgba) and not square[0].any() and not square[4].any()


def test_around_centres_the_union_of_the_clip():
    masks = np.zeros((2, 100, 200), dtype=bool)
    masks[0, 40:60, 100:120] = True
    masks[1, 40:60, 150:170] = True
    # The union is 70 wide, columns 100 to 170, so that half of the side 140 is filled.
    assert images.around(masks, 0.5) == Window(65, -20, 140)


def test_the_central_square_grows_with_what_moves_out_of_it():
    masks = np.zeros((2, 10, 20), dtype=bool)
    masks[0, 4:6, 9:11] = True
    assert images.central_square(masks) == Window(5, 0, 10)
    masks[1, 4:6, 2] = True
    assert images.central_square(masks) == Window(2, -3, 16)
    masks[1, 5, 0] = True
    assert images.central_square(masks) == Window(0, -5, 20)
    assert images.central_square(masks.swapaxes(1, 2)) == Window(-5, 0, 20)


# ------------------------------------------------------------------ colour matte


def test_background_is_measured_at_the_border():
    clip = np.full((2, 20, 20, 3), (10, 200, 30), dtype=np.uint8)
    clip[:, 5:15, 5:15] = 255
    colour, constant = images.background_colour(clip, 0.06)
    assert np.allclose(colour * 255, (10, 200, 30)) and constant == 1.0
    clip[1, 0] = 255
    assert images.background_colour(clip, 0.06)[1] == pytest.approx(1 - 20 / 152)


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 255, 0)])
def test_matte_of_a_disc_agrees_with_its_true_alpha_and_has_no_fringe(background):
    picture, alpha = disc(96, 30, background=background)
    rgba = images.colour_matte(picture, np.array(background) / 255, 0.06)
    error = np.abs(rgba[..., 3] / 255 - alpha)
    assert error.max() < 0.12 and error.mean() < 0.002
    edge = (rgba[..., 3] > 64) & (rgba[..., 3] < 255)
    assert edge.sum() > 50
    assert np.abs(rgba[edge][:, :3].astype(int) - (200, 30, 40)).max() <= 25


def test_specks_are_dropped_and_only_small_holes_are_filled():
    picture, _ = disc(128, 50)
    picture[2:4, 2:4] = (0, 0, 0)
    picture[60:62, 60:62] = 255  # a highlight: 4 of 16384 pixels
    picture[80:90, 60:70] = 255  # a gap: 100 of 16384 pixels
    alpha = images.colour_matte(picture, np.ones(3), 0.06)[..., 3]
    assert not alpha[:6, :6].any()
    assert (alpha[60:62, 60:62] == 255).all()
    assert not alpha[83:87, 63:67].any()


def test_compression_noise_stays_transparent():
    picture, _ = disc(64, 20)
    noise = np.random.default_rng(3).integers(0, 4, picture.shape)
    rgba = images.colour_matte((picture - np.minimum(picture, noise)).astype(np.uint8), np.ones(3), 0.06)
    assert not rgba[:8].any() and (rgba[30:34, 30:34, 3] == 255).all()
