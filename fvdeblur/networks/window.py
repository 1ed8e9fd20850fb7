"""Which frames a multi-frame network sees."""


def window_indices(centre: int, length: int, frames: int) -> list[int]:
    """Indices of a window of ``frames`` frames around ``centre``, reflected at both ends of ``length`` frames.

    >>> window_indices(0, 10, 5)
    [2, 1, 0, 1, 2]
    >>> window_indices(1, 2, 5)
    [1, 0, 1, 0, 1]
    """
    if length == 1:
        return [0] * frames
    period = 2 * (length - 1)
    folded = [i % period for i in range(centre - frames // 2, centre + frames // 2 + 1)]
    return [min(i, period - i) for i in folded]
