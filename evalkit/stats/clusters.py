"""Running sums over clusters of values between 0 and 1, from which the interval of their mean is computed."""

from __future__ import annotations

import numpy as np

from evalkit.stats.arrays import Floats, Whole


def effective_clusters(n: float, squared_sizes: float) -> float:
    """The number of equally large clusters that carry as much information: (Σ size)² / Σ size² (Kish 1965).

    Parameters
    ----------
    n, squared_sizes : float
        Sums over clusters of the size and of its square.
    """
    return n**2 / squared_sizes


class ClusterSums:
    """Adds up clusters part by part, in constant memory.

    Sums of both y and 1 − y are stored. The squared deviations are computed from the smaller of the two, because far
    from 0 they would be a small difference of large sums.

    Attributes
    ----------
    n : int
        Values so far.
    clusters : int
        Clusters so far.
    total, complement : float
        Sums of y and of 1 − y.
    partial : float
        Sum of y (1 − y): 0 when every value is 0 or 1.
    partial_clusters : int
        Clusters that hold a value between 0 and 1.
    """

    def __init__(self) -> None:
        self.n = 0
        self.clusters = 0
        self.total = 0.0
        self.complement = 0.0
        self.partial = 0.0
        self.partial_clusters = 0
        self._squares = [0.0, 0.0]  # Σ over clusters of (Σ in cluster)², of y and of 1 − y
        self._products = [0.0, 0.0]  # Σ over clusters of size · Σ in cluster
        self._sizes = 0.0  # Σ over clusters of size²
        # label, sum, size and sum of y (1 − y) of the last cluster, which may continue
        self._open: tuple[int, float, int, float] | None = None

    def add(self, labels: Whole, values: Floats, *, last: bool = False) -> None:
        """Add values whose labels are in order. The last cluster may continue in the next call, if there is one.

        Raises
        ------
        ValueError
            A value outside 0 to 1 or NaN.
        """
        if not len(values):
            return
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError("a proportion needs values from 0 to 1")
        begins = np.flatnonzero(np.concatenate(([True], labels[1:] != labels[:-1])))
        sums, sizes = np.add.reduceat(values, begins), np.add.reduceat(np.ones(len(values), np.int64), begins)
        partial = np.add.reduceat(values * (1 - values), begins)
        if self._open is not None and self._open[0] == labels[0]:
            sums[0] += self._open[1]
            sizes[0] += self._open[2]
            partial[0] += self._open[3]
        else:
            self.close()
        whole = len(sums) if last else len(sums) - 1
        self._open = None if last else (int(labels[-1]), float(sums[-1]), int(sizes[-1]), float(partial[-1]))
        self.add_whole(sums[:whole], sizes[:whole], partial[:whole])

    def close(self) -> None:
        """End the last cluster."""
        if self._open is not None:
            _, total, size, partial = self._open
            self._open = None
            self.add_whole(np.array([total]), np.array([size]), np.array([partial]))

    def add_whole(self, sums: Floats, sizes: Whole, partial: Floats | None = None) -> None:
        """Add complete clusters by their sums of y, sizes and sums of y (1 − y). None: all values are 0 or 1."""
        counts = sizes.astype(np.float64)
        complement = counts - sums
        self.n += int(sizes.sum())
        self.clusters += len(sizes)
        self.total += float(sums.sum())
        self.complement += float(complement.sum())
        for side, part in enumerate((sums, complement)):
            self._squares[side] += float((part * part).sum())
            self._products[side] += float((part * counts).sum())
        if partial is not None:
            self.partial += float(partial.sum())
            self.partial_clusters += int(np.count_nonzero(partial))
        self._sizes += float((counts * counts).sum())

    def effective_clusters(self) -> float:
        """The number of equally large clusters that carry as much information as these; see ``effective_clusters``."""
        return effective_clusters(self.n, self._sizes)

    def squared_deviations(self) -> float:
        """Sum over clusters of (sum in cluster of (y − mean))²."""
        side, total = (0, self.total) if self.total <= self.complement else (1, self.complement)
        mean = total / self.n
        return max(self._squares[side] - 2 * mean * self._products[side] + mean * mean * self._sizes, 0.0)
