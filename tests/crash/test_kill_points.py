# SPDX-License-Identifier: Apache-2.0
"""Every operation, killed at a bounded choice of points.

All of them: python -m ipcsys.testing.campaign --all"""

import pytest

from ipcsys.testing import scenes, sweeping

POINTS = 12
POINTS_OF_KIN = 6
SECONDS = 2  # for one operation; the campaign has no such bound


@pytest.mark.parametrize("scene", scenes.every().items(), ids=lambda scene: scene[0])
def test_survivors_go_on_wherever_the_victim_is_killed(scene, namespace):
    _name, spec = scene
    report = sweeping.sweep(spec, POINTS_OF_KIN if sweeping.find(spec).kin else POINTS, SECONDS)
    assert report.failures == []
    assert report.points > 2 or report.points == report.events + 1
