"""Hungarian-matched IoU between samples and raters (CAR, A.3)."""

import math

import numpy as np
from scipy import optimize, sparse

# Copies of samples and labels beyond which the transport itself is solved for.
MAX_COPIES = 1024


def hungarian_matched_iou(iou: np.ndarray) -> float:
    """Mean IoU under the best one-to-one matching of samples and labels.

    Both sides are repeated to their least common multiple, so that every sample and
    every label weighs the same whatever their numbers. That equals the exact optimal
    transport between the two sets. A rectangular assignment would instead pick the
    best few samples and forget the others.

    Args:
      iou: `[S, N]`, IoU of each sample with each label, in [0, 1].

    Returns:
      In [0, 1].

    Raises:
      ValueError: the matrix is empty or holds NaN.
    """
    iou = np.asarray(iou, np.float64)
    if iou.ndim != 2 or not iou.size:
        raise ValueError(f"iou must have shape [samples, labels], got {iou.shape}")
    if np.isnan(iou).any():
        raise ValueError("iou holds NaN: every pair must be defined to be matched")
    size = math.lcm(*iou.shape)
    if size > MAX_COPIES:
        return _transported_iou(iou)
    iou = iou.repeat(size // iou.shape[0], axis=0).repeat(size // iou.shape[1], axis=1)
    rows, columns = optimize.linear_sum_assignment(iou, maximize=True)
    return float(iou[rows, columns].mean())


def _transported_iou(iou: np.ndarray) -> float:
    """The same as a linear program: less work where the copies would be many."""
    num_samples, num_labels = iou.shape
    ones = sparse.eye(num_samples), sparse.eye(num_labels)
    from_samples = sparse.kron(ones[0], np.ones((1, num_labels)))
    to_labels = sparse.kron(np.ones((1, num_samples)), ones[1])
    solution = optimize.linprog(
        -iou.ravel(),
        A_eq=sparse.vstack([from_samples, to_labels]),
        b_eq=np.repeat([1 / num_samples, 1 / num_labels], iou.shape),
    )
    return float(-solution.fun)
