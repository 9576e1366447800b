"""Decoding ahead: images are read and preprocessed by threads while the consumer computes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from cnnir.data.dataset import Dataset
from cnnir.errors import CnnirError
from cnnir.preprocess import Preprocess, Tensor


@dataclass(frozen=True, slots=True)
class Item:
    """One image: the model's input `[C, H, W]`, or the error that tells why there is none."""

    id: str
    label: int
    tensor: Tensor | None
    error: CnnirError | None = None


def stream(
    dataset: Dataset, preprocess: Preprocess, *, limit: int | None = None, workers: int = 0, ahead: int = 64
) -> Iterator[Item]:
    """The items of `dataset` in order, at most `ahead` of them decoded before they are asked for.

    A damaged image becomes an item with `error` set; it is never left out.

    Args:
        limit: stop after so many images.
        workers: decoding threads; 0 for as many as there are cores, at most 8.
    """
    if workers < 1:
        workers = min(8, len(os.sched_getaffinity(0)))
    count = len(dataset) if limit is None else min(limit, len(dataset))

    def load(i: int) -> Item:
        name, label = dataset.id(i), dataset.label(i)
        try:
            return Item(name, label, preprocess.apply(dataset.image(i), name=name))
        except CnnirError as error:
            return Item(name, label, None, error)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    pending: deque[Future[Item]] = deque()
    try:
        for i in range(count):
            pending.append(pool.submit(load, i))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
