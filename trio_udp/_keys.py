"""Keys, as a program has them: an id, an algorithm and a secret that is never shown.

What must hold (F4): the secret comes out by `Key.to_line` and by nothing else; no repr, error or pickle shows it. Who
gives a line that is wrong is told what was expected, and not what stood there.
"""

import base64
import binascii
import os
from collections.abc import Callable, Iterable
from typing import Final, NoReturn, Self

from ._sealed_payload import siv_seal
from .proto import SECRET_SIZES, Seal, blake2b_seal, hmac_seal

BLAKE2B: Final = "blake2b-128"
_SECRET_SIZE: Final = 32
"""Bytes of a key that is made here: 256 bits, and what each of the algorithms takes."""

ALGORITHMS: Final[dict[str, Callable[[int, bytes], Seal]]] = {
    BLAKE2B: blake2b_seal,
    "hmac-sha-256-128": hmac_seal,
    "aes-siv-cmac-256": siv_seal,
}


class Key:
    """A secret that client and server share. It vouches for requests and replies; `repr` never shows it.

    Attributes:
        id: 1 to 255. It stands in every datagram, so that several keys can be good at a time.
        algorithm: `"blake2b-128"` (the fastest), `"hmac-sha-256-128"` (for those whose rules name it), or
            `"aes-siv-cmac-256"`, which enciphers payloads as well and needs the extra `trio-udp[aead]`.
    """

    __slots__ = ("_secret", "algorithm", "id", "seal")

    def __init__(self, id: int, secret: bytes, *, algorithm: str = BLAKE2B) -> None:  # noqa: A002 - the format's word
        """Make a key of a secret that both sides have.

        Args:
            id: 1 to 255.
            secret: 16 to 64 bytes that nobody can guess; a password is none. 32 for `"aes-siv-cmac-256"`.
            algorithm: see above. The algorithm belongs to the key: nothing in a datagram chooses it.

        Raises:
            ValueError: one of them makes no sense.
            TypeError: the secret is not `bytes`, or the id no `int`.
            ImportError: the algorithm needs a package that is not installed.
        """
        if not isinstance(secret, bytes):
            raise TypeError(f"expected the secret to be bytes, got {type(secret).__name__}")
        if not isinstance(id, int):
            raise TypeError(f"expected the key id to be an int, got {type(id).__name__}")
        if len(secret) not in SECRET_SIZES:
            sizes = f"{SECRET_SIZES.start} to {SECRET_SIZES.stop - 1}"
            raise ValueError(f"expected a secret of {sizes} bytes, got one of {len(secret)}")
        if algorithm not in ALGORITHMS:
            raise ValueError(f"expected one of the algorithms {', '.join(ALGORITHMS)}, got {algorithm!r:.40}")
        self.id: Final = id
        self.algorithm: Final = algorithm
        self.seal: Final = ALGORITHMS[algorithm](id, secret)
        """The key at work, for `trio_udp.proto`."""
        self._secret: Final = secret

    @classmethod
    def generate(cls, id: int = 1, *, algorithm: str = BLAKE2B) -> Self:  # noqa: A002 - the format's word
        """A new key of 32 bytes from the system's random source."""
        return cls(id, os.urandom(_SECRET_SIZE), algorithm=algorithm)

    @classmethod
    def from_line(cls, line: str) -> Self:
        """The key that a line says, as `to_line` writes it: id, algorithm and secret (base64), with blanks between.

        Raises `ValueError`, which does not show the line, and `ImportError` as the class does.
        """
        words = line.split()
        if len(words) != _WORDS:
            raise ValueError(f"expected an id, an algorithm and a secret in base64, got {len(words)} words")
        id_, algorithm, encoded = words
        if not (id_.isascii() and id_.isdecimal()):
            raise ValueError("expected a key id from 1 to 255 at the beginning, got something else")
        if algorithm not in ALGORITHMS:  # it is not shown: the words may have changed places
            raise ValueError(
                f"expected one of the algorithms {', '.join(ALGORITHMS)} behind the id, got something else"
            )
        try:
            secret = base64.b64decode(encoded.encode(), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("expected a secret in base64 at the end, got something else") from None
        return cls(int(id_[:4]), secret, algorithm=algorithm)

    def to_line(self) -> str:
        """The key as a line of a key file. This is the only way by which the secret comes out."""
        return f"{self.id} {self.algorithm} {base64.b64encode(self._secret).decode()}"

    def __repr__(self) -> str:
        return f"<Key {self.id}, {self.algorithm}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key cannot be pickled or copied: whoever got the pickle would have the key")


_WORDS: Final = 3


def seal_of(key: object) -> Seal:
    """The key at work; `TypeError` for a secret, or a list of keys, in its place, without a word of what it says."""
    if not isinstance(key, Key):
        raise TypeError(f"expected a Key, got {type(key).__name__}")
    return key.seal


def seals_of(keys: Iterable[Key]) -> list[Seal]:
    """The keys at work; `ValueError` if there are none."""
    if isinstance(keys, Key):
        raise TypeError("expected keys in a list, got a Key")
    seals = [seal_of(key) for key in keys]
    if not seals:
        raise ValueError("expected at least one key, got none")
    return seals
