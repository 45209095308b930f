"""Random keys as a pure function of what they are for, so that no random state exists anywhere."""

import hashlib


def derive_key(seed: int, purpose: str, *indices: int) -> int:
    """The 64-bit key of one purpose, such as ``derive_key(seed, "order", epoch)``.

    The key depends on nothing else, so every rank computes the same one without communication. Distinct arguments
    give keys that are independent for all practical purposes (BLAKE2b over an unambiguous text of the arguments).
    """
    text = "/".join([str(int(seed)), purpose, *(str(int(index)) for index in indices)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
