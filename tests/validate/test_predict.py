"""The best classes of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from cnnir.errors import CnnirError
from cnnir.validate.predict import top_classes


@dataclass
class Names:
    """The two fields of a manifest that matter here."""

    labels: tuple[str, ...] = ()
    class_offset: int = 0


def test_probabilities_stay_and_logits_become_some() -> None:
    best = top_classes(np.array([0.1, 0.7, 0.2]), Names(("a", "b", "c")), 2)
    assert [(c.index, c.name) for c in best] == [(1, "b"), (2, "c")]
    assert best[0].probability == pytest.approx(0.7)
    logits = top_classes(np.log([1.0, 3.0]) + 100, Names(), 5)
    assert [(c.index, c.name) for c in logits] == [(1, "1"), (0, "0")]
    assert logits[0].probability == pytest.approx(0.75)


def test_offset_and_ties() -> None:
    best = top_classes(np.array([[0.6, 0.2, 0.2]]), Names(("background", "cat", "dog"), 1), 1)
    assert [(c.index, c.name) for c in best] == [(0, "cat")]


def test_a_picture_is_no_row_of_scores() -> None:
    with pytest.raises(CnnirError, match=r"got an output \[3, 4\]"):
        top_classes(np.zeros((3, 4)), Names())
