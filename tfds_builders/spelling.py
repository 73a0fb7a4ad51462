"""Normalises texts that are written in several ways: spaces, Unicode form, case, and numbers."""

import decimal
import re
import unicodedata

# Not letters, but seen in tables: a byte-order mark in the middle, zero-width spaces, soft hyphens.
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))
# 1,234 is left out: it may be a thousand and more, or a little more than one.
_NUMBER = re.compile(r"[+-]?(\d+([.]\d*)?|[.]\d+|\d+,(\d{1,2}|\d{4,}))([eE][+-]?\d{1,3})?")


def plain(text: str) -> str:
    """Returns a text in the composed Unicode form (NFC), single-spaced, without invisible letters."""
    if text.isascii() and text.isalnum():
        return text
    return " ".join(unicodedata.normalize("NFC", text).translate(_INVISIBLE).split())


def fold(text: str) -> str:
    """Returns a text without differences of spaces, Unicode form and case.

    Compatibility forms are replaced (NFKC): full-width letters, ligatures. Dashes only become "-".
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFKC", text)  # folding may have decomposed it
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = " ".join(text.split())
    if text and all(unicodedata.category(c) == "Pd" or c == "\u2212" for c in text):
        return "-"
    return text


def fold_number(text: str) -> str:
    """Returns `fold` of a text; all ways to write a number (0, 0.0, 0,0, 00, -0) give the same text."""
    folded = fold(text)
    if not _NUMBER.fullmatch(folded):
        return folded
    number = decimal.Decimal(folded.replace(",", ".")).normalize()
    return f"number {number if number else 0}"
