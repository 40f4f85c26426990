"""Payloads that only who has the key can read: AES-SIV (RFC 5297), by the package `cryptography`.

A datagram keeps its form. Header and extensions stay in clear, because whoever answers has to find the request; payload
and padding are enciphered in place, and the 16-byte synthetic IV stands where the tag of another algorithm stands. It
covers all that a tag covers: direction, request's tag, header, extensions, payload, padding.

There is no nonce, and so none that could be used twice: the IV is computed from all of that. A server that answers one
request twice, with other bytes, could not have kept a nonce that comes from the request fresh. The price: who listens
sees whether two datagrams are equal to the bit, and the length of payloads.
"""

from typing import Final

from .proto import TAG_SIZE, Seal, payload_start

_SECRET_SIZE: Final = 32


class SIVSeal(Seal):
    """A seal that hides the payload."""

    __slots__ = ("_bad_tag", "_cipher")

    def __init__(self, key_id: int, secret: bytes) -> None:
        super().__init__(key_id)
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra, for those who use it
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV  # noqa: PLC0415 - the same

        self._cipher = AESSIV(secret)
        self._bad_tag = InvalidTag

    def protect(self, direction: bytes, datagram: bytes, bound: bytes) -> bytes:
        """See `Seal.protect`."""
        start = payload_start(datagram) or len(datagram)
        clear = datagram[:start]
        sealed: bytes = self._cipher.encrypt(datagram[start:], [_associated(direction, bound, clear)])
        return clear + sealed[TAG_SIZE:] + sealed[:TAG_SIZE]

    def unprotect(self, direction: bytes, data: bytes, bound: bytes) -> bytes | None:
        """See `Seal.unprotect`."""
        start = payload_start(data)
        end = len(data) - TAG_SIZE
        if start is None or start > end:
            return None
        clear = data[:start]
        sealed = data[end:] + data[start:end]
        try:
            payload: bytes = self._cipher.decrypt(sealed, [_associated(direction, bound, clear)])
        except self._bad_tag:
            return None
        return clear + payload


def _associated(direction: bytes, bound: bytes, clear: bytes) -> bytes:
    """One piece that is never empty (CVE-2023-2975), and says only one thing: `bound` has one length a direction."""
    return direction + b"\0" + bound + clear


def siv_seal(key_id: int, secret: bytes) -> Seal:
    """AES-SIV with two keys for AES-128, in RFC 5297 AEAD_AES_SIV_CMAC_256; `ImportError` without `cryptography`."""
    if len(secret) != _SECRET_SIZE:
        raise ValueError(f"expected a secret of {_SECRET_SIZE} bytes for aes-siv-cmac-256, got one of {len(secret)}")
    try:
        return SIVSeal(key_id, secret)
    except ImportError:
        raise ImportError("aes-siv-cmac-256 needs the package cryptography: pip install 'trio-udp[aead]'") from None
