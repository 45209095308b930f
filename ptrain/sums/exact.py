"""Sums of floats without rounding, so that neither their order nor the number of ranks can change a bit."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_HALF = 27  # bits of the lower half of a mantissa of 53 bits and a sign
_AT_ONCE = 1 << 25  # sums of this many halves stay below 2**53, where float64 counts exactly


def exact_sum(values: NDArray[np.floating]) -> Fraction:
    """The exact sum of finite floats of any shape, as a fraction whose denominator is a power of 2.

    Fractions add exactly: the sum of parts is the sum of the whole, however it was cut. Memory: about 6 times the
    values. The halves of the mantissas are added up as whole numbers, by exponent.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    total = Fraction(0)
    for start in range(0, flat.size, _AT_ONCE):
        mantissa, exponent = np.frexp(flat[start : start + _AT_ONCE])
        whole = np.ldexp(mantissa, 53).astype(np.int64)  # value = whole * 2**(exponent - 53)
        lowest = int(exponent.min())
        high = np.bincount(exponent - lowest, weights=whole >> _HALF)
        low = np.bincount(exponent - lowest, weights=whole & ((1 << _HALF) - 1))
        for offset in np.flatnonzero((high != 0) | (low != 0)).tolist():
            part = (int(high[offset]) << _HALF) + int(low[offset])
            total += part * Fraction(2) ** (lowest + offset - 53)
    return total
