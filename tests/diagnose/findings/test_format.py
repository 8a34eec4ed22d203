"""How numbers read."""

from understudy.diagnose.findings.format import plain_points, points


def test_negative_zero_has_no_minus():
    assert points(-0.0001) == "+0.0" and points(-0.001) == "-0.1" and plain_points(0.012) == "1.2"
