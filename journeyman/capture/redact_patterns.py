"""The built-in redaction rules: where a text holds an address, a number or a secret.

Each rule has two parts: a check on bytes that costs a microsecond and may err only on the side of yes, and the search
itself, which takes time in proportion to the text, whatever the text is. Python's `re` has no time limit, so no
pattern here may go back over what it has read more than a bounded number of characters.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

Span = tuple[int, int]


class Look(NamedTuple):
    """The JSON of some texts, and what is left of it without small letters and spaces: little, in prose."""

    data: bytes
    sparse: bytes

    @classmethod
    def at(cls, data: bytes) -> "Look":
        """A first look at that JSON."""
        return cls(data, data.translate(None, b"abcdefghijklmnopqrstuvwxyz \xc2\xa0"))


class Rule(NamedTuple):
    """A rule by its name. `maybe` judges by a first look, `find` says where each match lies in one text."""

    name: str
    maybe: Callable[[Look], bool]
    find: Callable[[str], Iterable[Span]]


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of a card's number."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = ord(digit) - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def iban_is_valid(compact: str) -> bool:
    """Whether the check digits are right: modulo 97, and as long as the country has it."""
    if len(compact) != _IBAN_LENGTHS.get(compact[:2]) or not compact.isascii() or not compact.isalnum():
        return False
    return int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 == 1


_DIGITS = "0123456789"
_SEVEN_DIGITS = re.compile(rb"[0-9](?:[./()-]{0,3}[0-9]){6}")
_THIRTEEN_DIGITS = re.compile(rb"[0-9](?:-?[0-9]){12}")
_WORD_TABLE = bytes(65 if sign.isalnum() or sign in "_-" else 32 for sign in map(chr, range(128))) + b" " * 128
_LONG_WORD = b"A" * 14


# --- e-mail addresses

_LOCAL = re.compile(r"[\w.%+'-]{1,64}\Z")
_DOMAIN = re.compile(r"(?:[\w-]{1,63}\.){1,8}[^\W\d_][\w-]{0,61}[^\W\d_]")


def _find_emails(text: str) -> Iterator[Span]:
    at = text.find("@")
    while at >= 0:
        local = _LOCAL.search(text, max(at - 64, 0), at)
        domain = _DOMAIN.match(text, at + 1)
        if local and domain and local.group().strip("'."):
            yield at - len(local.group().lstrip("'.")), domain.end()
        at = text.find("@", at + 1)


# --- telephone numbers: international ones, and national ones that are written as such

_PHONES = (
    re.compile(r"(?<![\w+])\+\(?[1-9](?:[ ./()\u00a0-]{0,2}[0-9]){6,14}(?![0-9])"),
    re.compile(r"(?<![\w.+-])00[1-9][0-9]{0,2}[ ./()-]{1,2}[0-9]{1,5}(?:[ ./-]?[0-9]{2,5}){1,4}(?![0-9])"),
    re.compile(r"(?<![\w.-])(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}(?![\w-])"),
    re.compile(r"(?<![\w.-])\(?0[1-9][0-9]{1,4}\)?[ /-][0-9]{3,4}(?:[ -]?[0-9]{2,4}){1,2}(?![\w-])"),
)


def _find_phones(text: str) -> Iterator[Span]:
    for pattern in _PHONES:
        for match in pattern.finditer(text):
            if 7 <= sum(sign in _DIGITS for sign in match.group()) <= 17:
                yield match.span()


# --- cards

_CARD_RUN = re.compile(r"(?<![0-9])[0-9]{2,19}(?:[ -][0-9]{2,19})*(?![0-9])")
_CARD_GROUP = re.compile(r"[0-9]+")
_CARD_FIRST = "234568"


def _find_cards(text: str) -> Iterator[Span]:
    for run in _CARD_RUN.finditer(text):
        groups = [(part.start() + run.start(), part.group()) for part in _CARD_GROUP.finditer(run.group())]
        done = 0
        for index, (start, first) in enumerate(groups):
            if first[0] in _CARD_FIRST and start >= done and (end := _card_end(groups, index)):
                done = end
                yield start, end


def _card_end(groups: list[tuple[int, str]], index: int) -> int:
    """Where the card's number that begins with this group ends; 0 when none does. The longest counts."""
    digits, end = "", 0
    for start, group in groups[index : index + 10]:
        digits += group
        if len(digits) > 19:
            break
        if len(digits) >= 13 and len(set(digits)) > 1 and luhn(digits):
            end = start + len(group)
    return end


# --- bank accounts

_IBAN_HEAD = re.compile(rb"[A-Z]{2}-?[0-9]{2}")
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?=[ -]?[A-Z0-9])")
_IBAN_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2})([0-9]{2})",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
        "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
        "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 "
        "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20",
    )
}


def _find_ibans(text: str) -> Iterator[Span]:
    for match in _IBAN_START.finditer(text):
        length = _IBAN_LENGTHS.get(match.group()[:2], 0)
        compact, position = "", match.start()
        while len(compact) < length and position < len(text):
            sign = text[position]
            if sign.isascii() and (sign.isupper() or sign.isdigit()):
                compact += sign
            elif sign not in " -\u00a0":
                break
            position += 1
            if position - match.start() > 2 * length:
                break
        follows = text[position : position + 1]
        if length and not (follows.isascii() and follows.isalnum()) and iban_is_valid(compact):
            yield match.start(), position


# --- keys and tokens

_SECRETS: tuple[tuple[tuple[str, ...], re.Pattern[str], bool], ...] = (
    # Signs that a text must hold, the pattern (its last group, if it has one, is what goes), and whether it needs a
    # digit, without which it is rather a word such as sk-learn-tutorial.
    (("sk-",), re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,}"), True),
    (("k_live_", "k_test_"), re.compile(r"(?<![A-Za-z0-9])[rsp]k_(?:live|test)_[A-Za-z0-9]{10,}"), False),
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), re.compile(r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{20,}"), False),
    (("github_pat_",), re.compile(r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{20,}"), False),
    (("glpat-",), re.compile(r"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,}"), False),
    (("AKIA", "ASIA"), re.compile(r"(?<![A-Za-z0-9])A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])"), False),
    (("AIza",), re.compile(r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}"), False),
    (("ya29.",), re.compile(r"(?<![A-Za-z0-9])ya29\.[A-Za-z0-9_-]{20,}"), False),
    (("xox",), re.compile(r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,}"), True),
    (("hf_",), re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}"), False),
    (("npm_",), re.compile(r"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36}"), False),
    (("pypi-",), re.compile(r"(?<![A-Za-z0-9])pypi-[A-Za-z0-9_-]{50,}"), False),
    (("SG.",), re.compile(r"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"), False),
    (("eyJ",), re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{11,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"), False),
    (
        ("earer", "EARER"),
        re.compile(r"(?<![A-Za-z0-9])[Bb](?:earer|EARER)[ \t]{1,8}([A-Za-z0-9._~+/-]{16,}={0,2})"),
        True,
    ),
    (("://",), re.compile(r"://([^\s/:@\"']{0,64}:[^\s/@\"']{3,128})@"), False),
)
_SECRET_SIGNS = tuple(sign.encode() for signs, _, _ in _SECRETS for sign in signs if sign != "://")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


def _maybe_secrets(look: Look) -> bool:
    # All but two kinds hold a word longer than those of prose; one look for it saves a dozen others.
    data = look.data
    return (
        (_LONG_WORD in data.translate(_WORD_TABLE) and any(sign in data for sign in _SECRET_SIGNS))
        or b"PRIVATEKEY" in look.sparse
        or (b"@" in data and b"://" in data)
    )


def _find_secrets(text: str) -> Iterator[Span]:
    for signs, pattern, needs_digit in _SECRETS:
        if not any(sign in text for sign in signs):
            continue
        for match in pattern.finditer(text):
            start, end = match.span(pattern.groups)
            if not needs_digit or any(sign in _DIGITS for sign in text[start:end]):
                yield start, end
    position = 0
    while head := _PRIVATE_KEY.search(text, position):
        # Without its end, all that follows may be the key.
        tail = _KEY_END.search(text, head.end())
        position = tail.end() if tail else len(text)
        yield head.start(), position


# --- network addresses

_IPV4 = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(?!\w|\.[0-9])"
)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?![\w:])")


def _find_addresses(text: str) -> Iterator[Span]:
    from ipaddress import AddressValueError, IPv6Address

    for match in _IPV4.finditer(text):
        yield match.span()
    for match in _IPV6.finditer(text):
        written = match.group()
        if written.count(":") < 2 or not any(sign in _DIGITS for sign in written):
            continue
        try:
            IPv6Address(written)
        except AddressValueError:
            continue
        yield match.span()


_MAYBE_ADDRESS = re.compile(rb"[0-9]\.[0-9]|[0-9A-F]:[0-9A-F]|::")


BUILT_IN: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("secret", _maybe_secrets, _find_secrets),
        Rule("email", lambda look: b"@" in look.data, _find_emails),
        Rule("iban", lambda look: _IBAN_HEAD.search(look.sparse) is not None, _find_ibans),
        Rule("card", lambda look: _THIRTEEN_DIGITS.search(look.sparse) is not None, _find_cards),
        Rule("phone", lambda look: _SEVEN_DIGITS.search(look.sparse) is not None, _find_phones),
        Rule("ip", lambda look: _MAYBE_ADDRESS.search(look.sparse) is not None, _find_addresses),
    )
}
"""By name, in the order of precedence: where two match the same text, the first one names what stood there."""
