"""Isolation trees, all of a forest grown at once with NumPy, level by level: 4 ms where scikit-learn takes 80.

A node draws one of its features that are not constant and a threshold between the smallest and the largest value of
it; x <= threshold goes left. It is a leaf when nothing can be told apart in it, or at depth ⌈log2 n⌉. The path of a
leaf with m samples at depth d is d + c(m), where

    c(n) = 2 H(n-1) - 2 (n-1)/n             the mean path of an unsuccessful search among n

scikit-learn's `IsolationForest` does the same, one tree and one validated estimator at a time; a stage that grows two
forests a minute beside its work cannot wait for that. Splits are drawn by other random numbers, so the trees are not
the same trees; tests/detectors compares the scores, which agree as well as those of two of its forests do. Values are
compared as float32, as scikit-learn does.

Liu, Ting, Zhou, *Isolation Forest*, ICDM 2008.

>>> trees = grow(np.array([[float(i % 7), float(i % 5)] for i in range(64)]), trees=50, sample_max=64, seed=1)
>>> usual, odd = trees.score(np.array([[3.0, 2.0], [30.0, 40.0]]))
>>> bool(usual + 0.1 < odd)
True
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

EULER = 0.5772156649015329


class Trees(NamedTuple):
    """All trees in flat arrays, level by level: the roots come first. A leaf's children are itself.

    children  [2 · nodes], right and left child of each node; so that every walk can take the same number of steps
    """

    feature: NDArray[np.int16]
    threshold: Array
    children: NDArray[np.int32]
    path: NDArray[np.float32]
    roots: int
    depth: int
    samples: int

    def score(self, vectors: Array) -> Array:
        """Liu's s(x) of each row, in [0, 1]: near 1 where a row is isolated at once."""
        x = vectors.astype(np.float32)
        flat, rows = x.reshape(-1), np.arange(len(x))[:, None] * x.shape[1]
        node = np.tile(np.arange(self.roots, dtype=np.int32), (len(x), 1))
        for _ in range(self.depth):
            left = flat.take(rows + self.feature.take(node)) <= self.threshold.take(node)
            node = self.children.take(2 * node + left)
        mean = self.path.take(node).sum(axis=1, dtype=np.float64) / self.roots
        return np.asarray(2.0 ** (-mean / max(average_path(self.samples), 1e-12)))


class _Level(NamedTuple):
    """The nodes of one depth: what they split by, the first of their two children (-1: a leaf), and their path."""

    feature: Indices
    threshold: Array
    first: Indices
    path: Array


def grow(vectors: Array, trees: int, sample_max: int, seed: int) -> Trees:
    """`trees` of `sample_max` rows each, drawn without putting back (all of them, where there are no more)."""
    rng = np.random.default_rng(seed)
    n = len(vectors)
    samples = min(sample_max, n)
    drawn = np.tile(np.arange(n), trees) if samples == n else _drawn(rng, trees, n, samples)
    rows = vectors.astype(np.float32).astype(np.float64).take(drawn, axis=0)
    counts = np.full(trees, samples)
    depth = math.ceil(math.log2(max(samples, 2)))
    levels: list[_Level] = []
    known = trees
    for at in range(depth):
        level, rows, counts = _split(rng, rows, counts, at, known)
        levels.append(level)
        known += len(counts)
        if not len(counts):
            break
    if len(counts):
        levels.append(_leaves(counts, depth))
    return _joined(levels, trees, samples)


def _drawn(rng: np.random.Generator, trees: int, n: int, samples: int) -> Indices:
    return np.argsort(rng.random((trees, n)), axis=1)[:, :samples].reshape(-1)


def _split(
    rng: np.random.Generator, rows: Array, counts: Indices, depth: int, known: int
) -> tuple[_Level, Array, Indices]:
    """Split every node of a level; `rows` lie node by node, `counts` of each. The next level's rows and counts."""
    low, high = _ranges(rows, counts)
    nodes = np.arange(len(counts))
    feature = np.argmax(np.where(high > low, rng.random(low.shape), -1.0), axis=1)
    low, high = low[nodes, feature], high[nodes, feature]
    threshold = low + rng.random(len(counts)) * (high - low)
    threshold = np.where(threshold < high, threshold, low)
    inner = high > low
    first = np.where(inner, known + 2 * (np.cumsum(inner) - 1), -1)
    level = _Level(feature, threshold, first, np.where(inner, 0.0, depth + _average_paths(counts)))
    split, sizes = np.flatnonzero(inner), counts[inner]
    at = np.flatnonzero(np.repeat(inner, counts))
    values = rows.reshape(-1).take(rows.shape[1] * at + np.repeat(feature[split], sizes))
    right = values > np.repeat(threshold[split], sizes)
    child = np.repeat(2 * np.arange(len(split)), sizes) + right
    order = np.argsort(child.astype(np.int16) if 2 * len(counts) < 2**15 else child, kind="stable")
    return level, rows.take(at.take(order), axis=0), np.bincount(child, minlength=2 * len(split))


def _ranges(rows: Array, counts: Indices) -> tuple[Array, Array]:
    """The smallest and the largest value of each feature in each node. (`take` copies rows in a fifth of the time.)"""
    starts = np.cumsum(counts) - counts
    low = rows.take(starts, axis=0)
    high, several = low.copy(), np.flatnonzero(counts > 1)
    if len(several):
        rows, sizes = rows.take(np.flatnonzero(np.repeat(counts > 1, counts)), axis=0), counts[several]
        starts = np.cumsum(sizes) - sizes
        low[several] = np.minimum.reduceat(rows, starts, axis=0)
        high[several] = np.maximum.reduceat(rows, starts, axis=0)
    return low, high


def _leaves(counts: Indices, depth: int) -> _Level:
    nothing = np.zeros(len(counts), dtype=np.intp)
    return _Level(nothing, np.zeros(len(counts)), nothing - 1, depth + _average_paths(counts))


def _joined(levels: list[_Level], trees: int, samples: int) -> Trees:
    first = np.concatenate([level.first for level in levels])
    own = np.arange(len(first))
    left, right = np.where(first < 0, own, first), np.where(first < 0, own, first + 1)
    return Trees(
        feature=np.concatenate([level.feature for level in levels]).astype(np.int16),
        threshold=np.concatenate([level.threshold for level in levels]),
        children=np.stack([right, left], axis=1).reshape(-1).astype(np.int32),
        path=np.concatenate([level.path for level in levels]).astype(np.float32),
        roots=trees,
        depth=len(levels) - 1,
        samples=samples,
    )


def _average_paths(counts: Indices) -> Array:
    n = np.maximum(counts, 2).astype(np.float64)
    many = 2.0 * (np.log(np.maximum(n - 1.0, 1.0)) + EULER) - 2.0 * (n - 1.0) / n
    return np.where(counts > 2, many, np.maximum(counts - 1.0, 0.0))


def average_path(n: int) -> float:
    """c(n): mean length of an unsuccessful search in a binary tree of n values.

    >>> average_path(1), average_path(2), round(average_path(64), 3)
    (0.0, 1.0, 7.472)
    """
    return float(_average_paths(np.array([n]))[0])
