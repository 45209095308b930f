"""Changes of the bytes of a file, as damage and malice make them: a pure function of a random generator."""

import random
import struct

_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 2**15 - 1, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
_LARGE = (*_NUMBERS, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def mutate(content: bytes, chance: random.Random, other: bytes = b"") -> bytes:
    """Return the content with one to four changes; ``other`` is a file from which pieces are taken."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        content = chance.choice(_CHANGES)(content, chance, other)
    return content


def _flip(content: bytes, chance: random.Random, _: bytes) -> bytes:
    changed = bytearray(content)
    for _again in range(chance.choice((1, 1, 2, 8, 32))):
        if changed:
            changed[_place(len(changed), chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _set(content: bytes, chance: random.Random, _: bytes) -> bytes:
    changed = bytearray(content)
    if changed:
        changed[_place(len(changed), chance)] = chance.choice((0, 1, 32, 45, 48, 57, 127, 128, 254, 255))
    return bytes(changed)


def _truncate(content: bytes, chance: random.Random, _: bytes) -> bytes:
    near = chance.choice((0, 4, 8, 12, 64, 128, 512, len(content) // 2, len(content) - 1, len(content) - 22))
    return content[: max(0, near) if chance.random() < 0.5 else chance.randint(0, len(content))]


def _number(content: bytes, chance: random.Random, _: bytes) -> bytes:
    """Put a number where the length of something may be, or change the number that is there a little."""
    width = chance.choice((1, 2, 4, 8))
    if len(content) < width:
        return content
    place = _place(len(content) - width + 1, chance)
    if chance.random() < 0.7:
        place -= place % min(width, 4)
    order = chance.choice("<>")
    code = {1: "B", 2: "H", 4: "I", 8: "Q"}[width]
    if chance.random() < 0.3:
        value = struct.unpack_from(order + code, content, place)[0] + chance.choice((-8, -1, 1, 8, 2**20))
    else:
        value = chance.choice(_LARGE)
    packed = struct.pack(order + code, value % 2 ** (8 * width))
    return content[:place] + packed + content[place + width :]


def _splice(content: bytes, chance: random.Random, other: bytes) -> bytes:
    source = other if other and chance.random() < 0.5 else content
    start = chance.randint(0, len(source))
    piece = source[start : start + chance.choice((1, 4, 8, 64, 512, 4096))]
    place = _place(len(content) + 1, chance)
    over = len(piece) if chance.random() < 0.6 else 0
    return content[:place] + piece + content[place + over :]


def _remove(content: bytes, chance: random.Random, _: bytes) -> bytes:
    place = _place(len(content) + 1, chance)
    return content[:place] + content[place + chance.choice((1, 2, 4, 8, 64, 512)) :]


def _digits(content: bytes, chance: random.Random, _: bytes) -> bytes:
    """Change a decimal number in text."""
    places = [place for place, byte in enumerate(content[:100_000]) if 48 <= byte <= 57]
    if not places:
        return content
    place = chance.choice(places)
    text = chance.choice((b"", b"-", b"0", b"9", b"99999999999", b"1e999", b"nan", b"inf", b"null", b'"', b",", b"]"))
    return content[:place] + text + content[place + chance.choice((0, 1, 2)) :]


def _place(size: int, chance: random.Random) -> int:
    """Return a place, more often near the start or the end, where headers and directories are."""
    kind = chance.random()
    if kind < 0.4:
        return chance.randrange(min(size, 256))
    if kind < 0.5:
        return size - 1 - chance.randrange(min(size, 128))
    return chance.randrange(size)


_CHANGES = (_flip, _flip, _set, _truncate, _number, _number, _number, _splice, _remove, _digits)
