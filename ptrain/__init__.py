"""ptrain: data-parallel training of neural-network classifiers, with the same bits on any number of ranks."""

import os

__version__ = "0.1.0"

# MKL picks a code path by processor, memory alignment and thread count unless it is told not to. The promise
# "same bits on any number of ranks" needs one fixed path; MKL reads the variable at its first call.
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")
