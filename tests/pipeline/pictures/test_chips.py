"""Names stay inside the picture and hide no other name."""

import numpy as np
from PIL import Image

from pipeline.pictures import chips, paint
from pipeline.pictures.chips import Caption

SIZE = (300, 220)


def names(count: int, text: str = "umbrella") -> list[Caption]:
    rng = np.random.default_rng(count)
    corners = np.sort(rng.uniform([-20, -20], [320, 240], (count, 2, 2)), axis=1).astype(int)
    return [
        Caption(text, f" 0.{i:02d}", paint.class_colour(i), tuple(box))
        for i, box in enumerate(corners.reshape(-1, 4).tolist())
    ]


def test_none_is_cut_off_and_none_hides_another() -> None:
    for wanted in (
        names(40),
        names(3, "a name of a class that is much longer than the picture is wide, and then some"),
    ):
        placed = chips.placed(wanted, SIZE)
        assert len(placed) >= min(len(wanted), 8)
        covered = np.zeros((SIZE[1], SIZE[0]), dtype=int)
        for chip in placed:
            left, top, right, bottom = chip.place
            assert 0 <= left < right <= SIZE[0] and 0 <= top < bottom <= SIZE[1]
            assert paint.text_width(chip.text, chips.POINTS) <= right - left
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1


def test_the_first_come_first_and_keep_their_scores() -> None:
    crowd = [name._replace(box=(100, 100, 110, 110)) for name in names(30)]
    placed = chips.placed(crowd, SIZE)
    assert 2 <= len(placed) < 30
    assert [chip.text for chip in placed] == [f"umbrella 0.{i:02d}" for i in range(len(placed))]


def test_what_is_drawn_stays_in_its_place() -> None:
    """Letters with descents and accents, too: outside its rectangle a chip leaves the picture as it
    is.
    """
    for chip in chips.placed(names(12, "Ågjpqy|{Ç"), SIZE):
        picture = Image.new("RGB", SIZE, "white")
        chips.write(picture, chip)
        pixels = np.array(picture)
        left, top, right, bottom = chip.place
        assert (pixels[top:bottom, left : left + chips.PADDING] == chip.colour).all()
        assert (pixels[top:bottom, left:right] == paint.ink_on(chip.colour)).all(axis=-1).any()
        pixels[top:bottom, left:right] = 255
        assert (pixels == 255).all()
