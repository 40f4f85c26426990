"""Faults in words: `drop=5%,delay=10ms±3ms,burst=gilbert(1%,30%)`, read and written.

What must hold: whatever is written is read back as the same numbers, to the last bit, so decimals are kept as decimals
until the end. What cannot be read is a `ValueError` of one line: what, the value, and what was expected.
"""

import re
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, Final

Fields = dict[str, Any]
"""Arguments of `Conditions`; `burst` as a tuple."""

_EXACT: Final = Context(prec=1_000, Emax=10_000, Emin=-10_000)
"""The sum of the largest and the smallest float has some 650 digits."""
_UNITS: Final = {"s": 0, "ms": -3, "us": -6, "µs": -6, "\N{GREEK SMALL LETTER MU}s": -6, "ns": -9}
"""Powers of ten. Two characters look like µ, and keyboards have either."""
_WRITTEN_UNITS: Final = ("s", "ms", "us", "ns")
_RATES: Final = {"Gbit": 9, "Mbit": 6, "kbit": 3, "bit": 0}
_NUMBER: Final = r"(\d+(?:\.\d*)?|\.\d+)"
_COMMA: Final = re.compile(r",(?![^(]*\))")
"""Not one within parentheses."""
_MOST_TEXT: Final = 10_000
"""Characters; what is written of any numbers is shorter."""


def read_words(text: str) -> Fields:
    """What these words say, by the names of the fields."""
    if len(text) > _MOST_TEXT:
        raise ValueError(f"expected at most {_MOST_TEXT} characters of faults, got {len(text)}")
    fields: Fields = {}
    seen = set()
    for part in filter(None, map(str.strip, _COMMA.split(text))):
        word, _, value = map(str.strip, part.partition("="))
        if word not in _READ:
            raise ValueError(f"expected faults like drop=5%, of {', '.join(_READ)}, got {part!r}")
        if word in seen:
            raise ValueError(f"expected {word} once, got it again in {part!r}")
        seen.add(word)
        fields |= _READ[word](word, value)
    return fields


def read_share(text: str, what: str = "") -> float:
    """`5%` or `0.05`. `what` it is about stands in the error."""
    found = re.fullmatch(rf"{_NUMBER} ?(%?)", text, re.ASCII)
    share = _EXACT.scaleb(Decimal(found[1]), -2 if found[2] else 0) if found else Decimal(2)
    if share > 1:
        raise ValueError(f"expected {what and f'{what} to be '}a share such as 5% or 0.05, at most 100%, got {text!r}")
    return float(share)


def _read_seconds(what: str, text: str) -> Decimal:
    found = re.fullmatch(rf"{_NUMBER} ?([a-zµμ]+)", text, re.ASCII)
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"expected {what} to be a time in ns, us, ms or s, such as 20ms, got {text!r}")
    return _EXACT.scaleb(Decimal(found[1]), _UNITS[found[2]])


def _read_delay(what: str, text: str) -> Fields:
    middle, sign, spread = re.sub(r"\+/?-", "±", text).partition("±")
    seconds = _read_seconds(what, middle.strip())
    around = _read_seconds(what, spread.strip()) if sign else Decimal(0)
    if around > seconds:
        raise ValueError(f"expected {what} to vary by no more than itself, as 10ms±3ms, got {text!r}")
    return {"latency": float(_EXACT.subtract(seconds, around)), "jitter": float(_EXACT.multiply(around, Decimal(2)))}


def _read_reorder(what: str, text: str) -> Fields:
    share, colon, late = text.partition(":")
    fields: Fields = {"reorder": read_share(share.strip(), what)}
    if colon:
        fields["reorder_by"] = float(_read_seconds(f"{what}'s delay", late.strip()))
    return fields


def _read_burst(what: str, text: str) -> Fields:
    found = re.fullmatch(r"gilbert\((.*)\)", text)
    shares = found[1].split(",") if found else []
    if not 2 <= len(shares) <= 4:
        form = "gilbert(ENTER,LEAVE) or gilbert(ENTER,LEAVE,LOSS WHEN BAD,LOSS WHEN GOOD)"
        raise ValueError(f"expected {what} to be {form}, such as gilbert(1%,30%), got {text!r}")
    return {"burst": tuple(read_share(share.strip(), what) for share in shares)}


def _read_rate(what: str, text: str) -> Fields:
    found = re.fullmatch(rf"{_NUMBER} ?(bit|kbit|Mbit|Gbit)", text, re.ASCII)
    if found is None:
        raise ValueError(f"expected {what} to be bits a second in bit, kbit, Mbit or Gbit, as 10Mbit, got {text!r}")
    return {"bandwidth": float(_EXACT.scaleb(Decimal(found[1]), _RATES[found[2]]))}


def _read_mtu(what: str, text: str) -> Fields:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ValueError(f"expected {what} to be a whole number of bytes, such as 1280, got {text!r}")
    return {"mtu": int(text)}


def _share_of(field: str) -> Callable[[str, str], Fields]:
    return lambda what, text: {field: read_share(text, what)}


_READ: Final[dict[str, Callable[[str, str], Fields]]] = {
    "drop": _share_of("loss"),
    "burst": _read_burst,
    "mtu": _read_mtu,
    "delay": _read_delay,
    "rate": _read_rate,
    "queue": lambda what, text: {"queue": float(_read_seconds(what, text))},
    "dup": _share_of("duplicate"),
    "reorder": _read_reorder,
    "corrupt": _share_of("corrupt"),
}
"""By the word, in the order in which they are written."""


def write_share(share: float) -> str:
    """In percent."""
    return f"{_plain(_EXACT.scaleb(_decimal(share), 2))}%"


def write_delay(latency: float, jitter: float) -> str:
    """The middle, and how far it goes to both sides."""
    around = _EXACT.multiply(_decimal(jitter), Decimal("0.5"))
    middle = _write_seconds(_EXACT.add(_decimal(latency), around))
    return f"{middle}±{_write_seconds(around)}" if around else middle


def write_seconds(seconds: float) -> str:
    """In the unit that makes it readable."""
    return _write_seconds(_decimal(seconds))


def _write_seconds(seconds: Decimal) -> str:
    fitting = (unit for unit in _WRITTEN_UNITS if not seconds or seconds >= Decimal(1).scaleb(_UNITS[unit]))
    unit = next(fitting, "ns")
    return f"{_plain(_EXACT.scaleb(seconds, -_UNITS[unit]))}{unit}"


def write_rate(bits: float) -> str:
    """In the unit that makes it readable."""
    rate = _decimal(bits)
    unit = next((unit for unit, power in _RATES.items() if rate >= Decimal(1).scaleb(power)), "bit")
    return f"{_plain(_EXACT.scaleb(rate, -_RATES[unit]))}{unit}"


def _decimal(number: float) -> Decimal:
    """The shortest decimal that is this float again."""
    return Decimal(repr(float(number)))


def _plain(number: Decimal) -> str:
    """Without an exponent, and without zeros that say nothing."""
    return format(_EXACT.normalize(number), "f")
