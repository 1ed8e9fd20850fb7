"""Gaussian models of how people and their expressions differ, and how many of their directions are real.

A shape is x = m + y + e: the mean, a part y that all pictures of a person share, with the covariance B between people,
and a part e that differs from picture to picture, with the covariance W within people. Both are found by expectation
maximisation, so that a person of whom there is one picture counts too: what such a picture owes to the person and what
to the expression follows from what the others show. Of faces that are meant to be without expression, a tenth of W and
the noise of the labels are all that differs from picture to picture: they tell more of the person. B gives the identity
basis and W the expression basis.

How many directions of each are real is decided on people who were held out: as long as one more direction makes their
pictures more probable, it is kept. What is left of W is noise of the same variance in all directions; the mean variance
of what is left is also subtracted from that of the directions that are kept (probabilistic PCA: Tipping & Bishop 1999).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fvdeblur.morphable.building.alignment import person_weights, within_people

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

FOLDS = 4
"""Groups of people, each held out once."""

ROUNDS = 25
"""Of expectation maximisation."""

PICTURES_HELD_OUT = 3
"""At most so many pictures of a person who is held out count."""

CALM = 0.1
"""Variance of faces that are meant to be without expression, as a share of W."""


@dataclass(frozen=True)
class Covariances:
    """Of shapes in D dimensions, around their mean: ``between`` people [D, D] and ``within`` people [D, D]."""

    between: Floats
    within: Floats

    @property
    def within_calm(self) -> Floats:
        """That of faces without expression, [D, D]: a share of ``within``, and noise as in its lesser directions."""
        variances = np.linalg.eigvalsh(self.within)
        return CALM * self.within + float(variances[: (len(variances) + 1) // 2].mean()) * np.eye(
            len(variances)
        )


def fit_covariances(values: Floats, people: Numbers, calm: Flags, rounds: int = ROUNDS) -> Covariances:
    """Find B and W by expectation maximisation.

    Parameters
    ----------
    values : [N, D]
        Shapes around their mean, those without expression around their own.
    people : int64 [N]
        Whom they show, 0 to K - 1.
    calm : bool [N]
        Which of them are without expression; not all.
    rounds
        Of expectation maximisation.
    """
    several = np.bincount(people)[people] > 1
    deviations = within_people(values, people)[several]
    freedom = max(int(several.sum()) - len(np.unique(people[several])), 1)
    total = values.T @ (values * person_weights(people)[:, None])
    start = deviations.T @ deviations / freedom
    floor = 1e-6 * float(np.trace(total)) / len(total)
    fitted = Covariances(_positive(total - start, floor), _positive(start, floor))
    classes = [(calm, True), (~calm, False)]
    sums = [_sums(values * chosen[:, None], people) for chosen, _ in classes]
    counts = np.stack([np.bincount(people, chosen) for chosen, _ in classes], axis=1)
    for _ in range(rounds):
        outer = np.linalg.inv(fitted.between)
        inner = [np.linalg.inv(fitted.within_calm if quiet else fitted.within) for _, quiet in classes]
        shown = sums[0] @ inner[0] + sums[1] @ inner[1]
        shared = np.empty_like(sums[0])
        unsure, unsure_within = np.zeros_like(outer), np.zeros_like(outer)
        for kind in np.unique(counts, axis=0):
            chosen = (counts == kind).all(1)
            posterior = np.linalg.inv(outer + kind[0] * inner[0] + kind[1] * inner[1])
            shared[chosen] = shown[chosen] @ posterior
            unsure += chosen.sum() * posterior
            unsure_within += chosen.sum() * kind[1] * posterior
        rest = (values - shared[people])[~calm]
        fitted = Covariances(
            _positive((shared.T @ shared + unsure) / len(counts), floor),
            _positive((rest.T @ rest + unsure_within) / len(rest), floor),
        )
    return fitted


def log_likelihood(values: Floats, people: Numbers, covariances: Covariances) -> float:
    """Mean log-probability of a picture with an expression, of [N, D], under the model, without the constant."""
    sums, counts = _sums(values, people), np.bincount(people)
    between, inverse = covariances.between, np.linalg.inv(covariances.within)
    total = -0.5 * float(((values @ inverse) * values).sum())
    total -= 0.5 * len(values) * float(np.linalg.slogdet(covariances.within)[1])
    for count in np.unique(counts):
        chosen = sums[counts == count] @ inverse
        growth = np.eye(len(between)) + count * between @ inverse
        total += 0.5 * float((chosen @ np.linalg.solve(growth, between) * chosen).sum())
        total -= 0.5 * len(chosen) * float(np.linalg.slogdet(growth)[1])
    return total / len(values)


def reduce_rank(covariance: Floats, rank: int) -> tuple[Floats, float]:
    """The first directions of a covariance [D, D], times their deviation, [D, rank], and the variance of the others.

    The variance of the others is subtracted from those of the directions.
    """
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = variances[::-1], directions[:, ::-1]
    noise = float(variances[rank:].mean()) if rank < len(variances) else 0.0
    return directions[:, :rank] * np.sqrt(np.maximum(variances[:rank] - noise, 0)), noise


def choose_ranks(
    values: Floats, people: Numbers, calm: Flags, group: Numbers, most: int
) -> tuple[int, int, Floats, Floats]:
    """How many directions between and within people are real.

    Parameters
    ----------
    values, people, calm
        As `fit_covariances` takes them. Pictures without expression help to fit, but not to judge.
    group : int64 [K]
        People of the same group are held out together.
    most
        Largest number of directions within people that is tried.

    Returns
    -------
    between, within
        The numbers that make held-out pictures most probable.
    gain_between : [D + 1]
        Mean gain in log-probability of a held-out picture over no direction, for each number (see `between_of_rank`).
    gain_within : [most + 1]
        Likewise (see `reduce_rank`).
    """
    highest = min(most, values.shape[1] - 1)
    gain_between, gain_within = np.zeros(values.shape[1] + 1), np.zeros(highest + 1)
    for fold in range(FOLDS):
        held = (group % FOLDS == fold)[people]
        if not held.any() or held.all():
            continue
        fitted = fit_covariances(values[~held], _renumbered(people[~held]), calm[~held])
        test = np.flatnonzero(held & ~calm)
        test = test[_rank_within(people[test]) < PICTURES_HELD_OUT]
        pictures, whose = values[test], _renumbered(people[test])
        for rank in range(highest + 1):
            tried = Covariances(fitted.between, with_noise(*reduce_rank(fitted.within, rank)))
            gain_within[rank] += log_likelihood(pictures, whose, tried)
        within = with_noise(*reduce_rank(fitted.within, int(gain_within.argmax())))
        gain_between[1:] += np.cumsum(_gains(pictures, whose, Covariances(fitted.between, within)))
    return (
        int(gain_between.argmax()),
        int(gain_within.argmax()),
        gain_between / FOLDS,
        (gain_within - gain_within[0]) / FOLDS,
    )


def with_noise(basis: Floats, noise: float) -> Floats:
    """The covariance [D, D] of a scaled basis [D, rank] and noise of a variance."""
    return basis @ basis.T + noise * np.eye(len(basis))


def discriminating(covariances: Covariances) -> tuple[Floats, Floats]:
    """Directions in which people differ most for how much their own pictures differ.

    Returns
    -------
    ratios : [D]
        Variance between over variance within people, falling.
    directions : [D, D]
        As columns U, so that W = U U^T and B = U diag(ratios) U^T.
    """
    root = np.linalg.cholesky(covariances.within)
    inverse = np.linalg.inv(root)
    ratios, turned = np.linalg.eigh(inverse @ covariances.between @ inverse.T)
    return np.maximum(ratios[::-1], 0), root @ turned[:, ::-1]


def between_of_rank(covariances: Covariances, rank: int) -> Floats:
    """B [D, D] with its ``rank`` most discriminating directions alone."""
    ratios, directions = discriminating(covariances)
    return (directions[:, :rank] * ratios[:rank]) @ directions[:, :rank].T


def _gains(values: Floats, people: Numbers, covariances: Covariances) -> Floats:
    """Mean gain in log-probability of a picture, [D], in each discriminating direction, by calling it the person's.

    Else its variance is taken to be as large, but to differ from picture to picture.
    """
    ratios, directions = discriminating(covariances)
    places = np.linalg.solve(directions, values.T).T
    sums, counts = _sums(places, people), np.bincount(people)
    squares = (places**2).sum(0)
    growth = 1 + counts[:, None] * ratios
    shared = -0.5 * (squares - (sums**2 * ratios / growth).sum(0) + np.log(growth).sum(0))
    single = -0.5 * (squares / (1 + ratios) + len(values) * np.log(1 + ratios))
    return (shared - single) / len(values)


def _sums(values: Floats, people: Numbers) -> Floats:
    """Sum [K, D] of each person's values [N, D]."""
    sums = np.zeros((people.max() + 1, values.shape[1]))
    np.add.at(sums, people, values)
    return sums


def _positive(covariance: Floats, floor: float) -> Floats:
    variances, directions = np.linalg.eigh((covariance + covariance.T) / 2)
    return (directions * np.maximum(variances, floor)) @ directions.T


def _renumbered(people: Numbers) -> Numbers:
    return np.unique(people, return_inverse=True)[1].astype(np.int64)


def _rank_within(people: Numbers) -> Numbers:
    """How many earlier entries show the same person, for each entry."""
    order = np.argsort(people, kind="stable")
    sorted_people = people[order]
    starts = np.searchsorted(sorted_people, sorted_people)
    ranks = np.empty(len(people), np.int64)
    ranks[order] = np.arange(len(people)) - starts
    return ranks
