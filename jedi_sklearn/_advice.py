"""Advise on a fit that falls short, for users who set `verbose`.

Functions return one line of text, or None if there is nothing to say.
"""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

__all__ = [
    "describe_gap",
    "describe_size",
    "describe_spread",
    "describe_starts",
    "describe_unused_labels",
]

FAR_BELOW = 0.1  # difference in R2 or accuracy that is worth mentioning
SHARE_BELOW = 0.25  # of R2 or D2: spike counts in short bins have a D2 of about 0.1 in all
NARROW, ENOUGH_NEW = 0.8, 10  # SD of new embeddings relative to training; trials needed to tell
FOLDS = 4


def describe_size(name, size, curve, chosen):
    """Say why a size was chosen, or that the given one exceeds what predicts neurons best."""
    shares = f"share of unseen neurons' variance predicted, by size: {curve}"
    if chosen:
        return f"{name}={size} ({shares})"
    if size > curve.best and not curve.still_rises:
        return (
            f"{name}={size} exceeds the {curve.best} that help to predict unseen neurons "
            f"({shares}). Decoders may do better with fewer."
        )
    return None


def describe_starts(starts, embedding, codes):
    """Say if initial states decode the conditions better than embeddings do.

    Parameters
    ----------
    starts : ndarray (trials, neurons)
        Initial states.
    embedding : ndarray (trials, n_components)
        Embeddings of the same trials.
    codes : ndarray of int (trials,), or None
        Conditions, if there are any.
    """
    if codes is None or len(np.unique(codes)) < 2 or np.bincount(codes).min() < FOLDS:
        return None
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    n = min(embedding.shape[1], *starts.shape, len(starts) // 2)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    decoders = (make_pipeline(PCA(n, random_state=0), lda), starts), (lda, embedding)
    first, second = (cross_val_score(d, values, codes, cv=folds).mean() for d, values in decoders)
    if first < second + FAR_BELOW:
        return None
    return (
        f"The initial states distinguish the conditions better than the embeddings do (accuracy "
        f'{first:.2f} against {second:.2f}). With initial_state="generated" the embedding holds '
        "both."
    )


def describe_gap(r2, training_r2, share="R2"):
    """Say if free runs explain much less of these trials than of the training trials."""
    if training_r2 is None:
        return None
    enough = min(FAR_BELOW, SHARE_BELOW * training_r2) if training_r2 > 0 else FAR_BELOW
    if training_r2 - r2 < enough:
        return None
    return (
        f"{share} is {r2:.3f}, but {training_r2:.3f} on the training trials: either the model has "
        "learned their noise, or these trials are of a different kind. Try fewer components, a "
        "lower rank, or more training trials."
    )


def describe_spread(unseen, training):
    """Say if embeddings of these trials vary much less than those of the training trials."""
    if len(unseen) < ENOUGH_NEW:
        return None
    ratio = float(np.median(unseen.std(axis=0) / training.std(axis=0)))
    if ratio >= NARROW:
        return None
    return (
        f"Embeddings of these trials have {ratio:.2f} times the SD of those of the training "
        "trials: either these trials are more alike, or there are too many components for the "
        'noise. In that case try n_components="auto", or fewer.'
    )


def describe_unused_labels(labels, y, conditions):
    """Say if a recording has labels that the fit was not given."""
    if labels is None or y is not None or conditions is not None:
        return None
    return "The labels of the recording are not used. To fit with them: fit(rec, rec.labels)."
