# SPDX-License-Identifier: Apache-2.0
import platform
import sys
from pathlib import Path

if platform.machine() != "x86_64":  # the stepper is x86-64's trap flag
    collect_ignore = ["test_harness.py", "test_kill_points.py"]

# The scenes of this folder are imported by the stage too, from sys.path.
sys.path.insert(0, str(Path(__file__).parent))
