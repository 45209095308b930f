"""Sums of floats without rounding, so that neither their order nor the number of ranks can change a bit."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_HALF = 27  # bits of the upper half of a 54-bit mantissa and sign


def exact_sum(values: NDArray[np.floating]) -> Fraction:
    """Return the exact sum of finite floats of any shape, as a fraction whose denominator is a power of 2.

    Fractions add exactly: the sum of parts is the sum of the whole, however it was cut. Memory: about 5 times the
    values. Holds for up to 2**36 values, since halves of mantissas are added up as 64-bit integers.
    """
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64).ravel())
    whole = np.ldexp(mantissa, 53).astype(np.int64)  # value = whole * 2**(exponent - 53)
    high, low = whole >> _HALF, whole & ((1 << _HALF) - 1)
    total = Fraction(0)
    for power in np.unique(exponent).tolist():
        of_power = exponent == power
        part = (int(high[of_power].sum()) << _HALF) + int(low[of_power].sum())
        total += Fraction(part) * Fraction(2) ** (power - 53)
    return total
