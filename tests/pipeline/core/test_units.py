"""Numbers as people read them."""

from pipeline.core.units import amount, clock, duration, size


def test_numbers_keep_two_digits() -> None:
    assert [size(n) for n in (0, 999, 1000, 1.52e11, 9.96e9)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "152 GB",
        "10 GB",
    ]
    assert [amount(n) for n in (1, 9_999_999, 384_307_200)] == ["1", "9,999,999", "384 M"]
    assert [duration(n, "GPU-") for n in (1, 59, 60, 3600, 385_200)] == [
        "1.0 GPU-s",
        "59 GPU-s",
        "1.0 GPU-min",
        "1.0 GPU-h",
        "107 GPU-h",
    ]
    assert [clock(n) for n in (30, 90, 2 * 86400 - 3600, 2 * 86400)] == [
        "30 s",
        "1.5 min",
        "47 h",
        "2.0 days",
    ]
