"""All training families by name: a maker takes a random generator and returns one object's pose function.

A family's place in this table is part of its seed, so new families go to the end.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stages.lib.suite.creatures import CREATURES, PoseFunction
from stages.lib.suite.things import THINGS

FAMILY_MAKERS: dict[str, Callable[[np.random.Generator], PoseFunction]] = {**CREATURES, **THINGS}
