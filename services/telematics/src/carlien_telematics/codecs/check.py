"""The check byte that GB/T 32960 and JT/T 808 share: exclusive or of all bytes."""

# Folding one big integer costs a few machine-word loops in C; a loop over bytes costs 50 times as much.
_SHIFTS = tuple(8 << n for n in range(16, -1, -1))


def xor_of(data: bytes | bytearray | memoryview) -> int:
    """Exclusive or of all bytes of `data`, 0 for none."""
    bits = len(data) * 8
    folded = int.from_bytes(data, "little")
    for shift in _SHIFTS:
        if shift < bits:
            folded ^= folded >> shift
    return folded & 0xFF
