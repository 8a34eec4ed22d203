"""Images that show the same: equal bytes, or equal but for size, compression and brightness.

Near duplicates are found by their thumbnails of 8 x 8 grey pixels. Each, without its mean and
scaled to length 1, is a point on a sphere in 64 dimensions; two images are near if the points are,
which is a Pearson correlation above ``1 - TOLERANCE``. That does not depend on brightness and
contrast. Pairs are found without comparing all by a k-d tree on the principal components; none is
missed. Pictures that are hardly more than one grey level have no near duplicates: their thumbnail
is noise.

Measured at this tolerance: pairs found among the distinct pictures of a set, and the share of
copies found of 400 of its pictures, saved as JPEG of quality 50, at half the size, at 0.8 times the
brightness, and at 1.2 times, where white is clipped:

* CIFAR-10, 60,000 pictures, 1.8 * 10^9 pairs: 29 found, by eye all 29 the same photograph;
  copies 98, 97, 100 and 76 %;
* elpv, 2,624 solar cells that look much alike, 3.4 * 10^6 pairs: 38 found, of the closest 12 six
  are one cell photographed twice; copies 99.8, 99.8, 99 and 88 %;
* scikit-learn's digits, 1,797 of 8 x 8 pixels, 1.6 * 10^6 pairs: none found.

A difference hash of 64 bits (Krawetz 2013) within 4 bits finds 92 to 99 % of the copies of the
solar cells, and 3,535 pairs among the cells. Crops, mirrored and turned copies are not found.
"""

from collections.abc import Iterable

import numpy as np

from understudy.data.facts import Facts

TOLERANCE = 0.003
"""1 minus the correlation of the thumbnails, up to which two images are near duplicates."""
_LEAST_DEVIATION = 4.0
"""Standard deviation of a thumbnail's grey levels, below which it is flat."""
_COMPONENTS = 12
"""Principal components in the tree: with more, it compares more numbers; with fewer, more pairs
have to be looked at (measured: 2 s for 100,000 images, 12 s for 400,000)."""


def exact_groups(facts: Facts) -> list[np.ndarray]:
    """Rows of images with equal bytes: each group int64, ascending, of at least two."""
    rows = np.flatnonzero(facts.is_read)
    return _groups(rows, _number_rows(facts.digest[rows]))


def near_groups(facts: Facts) -> list[np.ndarray]:
    """Rows of images that are near duplicates: each group int64, ascending.

    An image is near to one of its group, not always to all. Groups of nothing but equal files are
    left out; a group that has others holds its equal files as well.
    """
    rows = np.flatnonzero(facts.is_read)
    file = _number_rows(facts.digest[rows])
    _, first, file = np.unique(file, return_index=True, return_inverse=True)
    cluster = _clusters(facts.thumbnail[rows[first]])
    _, num_files = np.unique(cluster, return_counts=True)
    return _groups(rows, cluster[file], several=num_files > 1)


def _clusters(thumbnails: np.ndarray) -> np.ndarray:
    """int64 ``[N]``: a number for each image, from 0, shared by images near to each other."""
    points, is_flat = _points(thumbnails)
    shown = np.flatnonzero(~is_flat)
    parent = np.arange(len(thumbnails))
    for one, others in _neighbourhoods(points[shown]):
        root = _root(parent, shown[one])
        for other in shown[others]:
            parent[_root(parent, other)] = root
    roots = np.array([_root(parent, row) for row in range(len(parent))], np.int64)
    return np.unique(roots, return_inverse=True)[1]


def _points(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 ``[N, 64]`` of length 1 and mean 0, and bool ``[N]``: too flat to compare."""
    points = thumbnails.astype(np.float32)
    points -= points.mean(1, keepdims=True)
    length = np.linalg.norm(points, axis=1)
    is_flat = length < _LEAST_DEVIATION * thumbnails.shape[1] ** 0.5
    return points / np.maximum(length, 1e-6)[:, None], is_flat


def _neighbourhoods(points: np.ndarray) -> Iterable[tuple[int, np.ndarray]]:
    """A point and all that are near to it, until every point that has neighbours was among one.

    Of many images that are alike (frames of a camera that does not move) only one is compared with
    the others, so the work does not grow with the square of their number.
    """
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return
    # |a - b|^2 = 2 (1 - correlation) for points of length 1; a projection only brings them closer.
    radius = (2 * TOLERANCE) ** 0.5
    _, axes = np.linalg.eigh(points.T @ points)
    projected = points @ axes[:, -_COMPONENTS:]
    tree = cKDTree(projected)
    distance, _ = tree.query(projected, k=2, distance_upper_bound=radius)
    is_grouped = ~np.isfinite(distance[:, 1])  # alone
    for one in np.flatnonzero(~is_grouped):
        if is_grouped[one]:
            continue
        near = np.array(tree.query_ball_point(projected[one], radius, return_sorted=True))
        near = near[((points[near] - points[one]) ** 2).sum(1) < radius**2]
        is_grouped[near] = True
        if len(near) > 1:
            yield int(one), near


def _root(parent: np.ndarray, row: int) -> int:
    """The row that stands for the group of ``row``."""
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row


def _number_rows(values: np.ndarray) -> np.ndarray:
    """int64 ``[N]``: equal rows of a matrix have equal numbers, from 0."""
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)


def _groups(
    rows: np.ndarray, number: np.ndarray, several: np.ndarray | None = None
) -> list[np.ndarray]:
    """Rows with the same number, where there are at least two, or ``several[number]``."""
    wanted = np.bincount(number) > 1 if several is None else several
    chosen = wanted[number]  # of a million images only a few
    rows, number = rows[chosen], number[chosen]
    if not len(rows):
        return []
    order = np.argsort(number, kind="stable")
    return np.split(rows[order], np.flatnonzero(np.diff(number[order])) + 1)
