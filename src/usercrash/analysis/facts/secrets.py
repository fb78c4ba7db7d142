"""Masks secrets in environments and command lines, by names and by known shapes.

It cannot know all of them, and memory is shown as it was: a report is for those who
may see the process. Works on bytes, so that the exact bytes kept beside a text
are masked as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

MASK = b"<masked>"
_BEFORE = 4096  # bytes before an address that are looked at: it may point into a secret's value

_SECRET_NAME = re.compile(
    rb"KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|AUTH|COOKIE|SESSION|PRIVATE|BEARER|JWT|SIGNATURE"
    rb"|_SAS\b|_PAT\b|_DSN\b|PINCODE|CARD_?NUMBER|SOCIAL_?SECURITY",
    re.IGNORECASE,
)
# Short words, which mean a secret only where they stand alone: in `pin_code`, `userPin` and
# `card-cvv2`, not in `pinned`, `spin` and `ping`.
_SECRET_WORDS = frozenset({
    b"pin", b"pins", b"otp", b"totp", b"mfa", b"cvv", b"cvc", b"ssn", b"psk", b"pw", b"cred",
    b"creds",
})  # fmt: skip
_WORD = re.compile(rb"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Names that match and hold paths or plain words, which the reader of a crash needs.
_HARMLESS = frozenset({
    b"PWD", b"OLDPWD", b"XAUTHORITY", b"SSH_AUTH_SOCK", b"DESKTOP_SESSION", b"SESSION_MANAGER",
    b"GDMSESSION", b"XDG_SESSION_ID", b"XDG_SESSION_TYPE", b"XDG_SESSION_CLASS",
    b"XDG_SESSION_DESKTOP", b"XDG_SESSION_PATH", b"DBUS_SESSION_BUS_ADDRESS", b"XKB_DEFAULT_LAYOUT",
    b"KEYBOARD", b"KEYMAP", b"PASSENGER_APP_ENV",
})  # fmt: skip
_URL_PASSWORD = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s/?#@:]{0,256}:)[^\s/?#]*@")
_URL_PARAMETER = re.compile(
    rb"(?i)([?&;](?:[a-z0-9_.-]{0,40}"
    rb"(?:key|token|secret|pass|pwd|credential|auth|signature|session)[a-z0-9_.-]{0,40})=)[^&;\s#]+"
)
_HEADER = re.compile(rb"(?i)\b(authorization|proxy-authorization|cookie|x-api-key)(:\s*).+")
# Shapes that are secrets wherever they stand: JSON Web Tokens and issuers' prefixes. A token is
# looked for from the beginning of its run of characters on, each run once: a text of nothing
# but beginnings of tokens would take the square of its length.
_WEB_TOKEN = re.compile(
    rb"(?<![A-Za-z0-9_-])((?>(?:(?!\beyJ)[A-Za-z0-9_-])*))"  # (`*+` of a group fails in 3.11.2)
    rb"eyJ(?>[A-Za-z0-9_-]{8,})\.(?>[A-Za-z0-9_-]{8,})\.[A-Za-z0-9_-]*"
)
_SHAPES = re.compile(
    rb"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|xapp-|sk-|[sr]k_live_|whsec_|npm_|hf_|AIza"
    rb"|AKIA|ASIA)[A-Za-z0-9_-]{12,}"
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
    re.DOTALL,
)
# The same over several lines (RFC 7468), and what a line of base64 in one ends with.
_KEY_BEGIN = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(?!.*-----END)")
_KEY_END = re.compile(rb"-----END [A-Z ]*PRIVATE KEY-----")
_KEY_LINE = re.compile(rb"(?:^|\s)[A-Za-z0-9+/]{16,76}={0,2}\s*$")
_OFF = (b"--no-", b"--without-", b"--disable-")


def is_secret_name(name: bytes) -> bool:
    """Whether a variable or an option of this name is likely to hold a secret."""
    if name in _HARMLESS:
        return False
    return _SECRET_NAME.search(name) is not None or any(
        word.lower() in _SECRET_WORDS for word in _WORD.findall(name)
    )


def mask_value(value: bytes) -> bytes:
    """The value with what looks like a secret in it masked: passwords and signatures in
    URLs, authorization headers, tokens."""
    value = _URL_PASSWORD.sub(rb"\1" + MASK + b"@", value)
    value = _URL_PARAMETER.sub(rb"\1" + MASK, value)
    value = _HEADER.sub(rb"\1\2" + MASK, value)
    return _SHAPES.sub(MASK, _WEB_TOKEN.sub(rb"\1" + MASK, value))


def mask_lines(lines: Sequence[bytes]) -> list[bytes]:
    """Lines of a log, each masked as `mask_value` does, and all lines of a private key among them;
    also where its end, or in the first lines its beginning, is not there."""
    shown: list[bytes] = []
    in_key = False
    for number, line in enumerate(lines):
        ends = _KEY_END.search(line) is not None
        shown.append(MASK if in_key or ends else mask_value(line))
        if ends and not in_key:
            # It began before the first line: what may be of it.
            for earlier in range(number - 1, -1, -1):
                if not _KEY_LINE.search(lines[earlier]):
                    break
                shown[earlier] = MASK
        in_key = not ends and (in_key or _KEY_BEGIN.search(line) is not None)
    return shown


def mask_assignment(text: bytes) -> bytes:
    """`NAME=value` with a secret's value masked; other text by its shape only."""
    name, equals, value = text.partition(b"=")
    if not equals:
        return mask_value(text)
    if value and is_secret_name(name):
        return name + b"=" + MASK
    return name + b"=" + mask_value(value)


def mask_environment(variables: list[bytes]) -> list[bytes]:
    """Each `NAME=value` masked as `mask_assignment` does."""
    return [mask_assignment(variable) for variable in variables]


def mask_cmdline(arguments: list[bytes]) -> list[bytes]:
    """The arguments with secrets masked: `--password=x`, `--password x`, `token=x`, URLs,
    headers. The first argument, the program's name, is only looked at for its shape."""
    result = []
    next_is_secret = False
    for number, argument in enumerate(arguments):
        option = argument.startswith(b"-") and number > 0
        if next_is_secret and argument and not argument.startswith(b"--"):
            result.append(MASK)
            next_is_secret = False
            continue
        result.append(mask_assignment(argument) if number else mask_value(argument))
        next_is_secret = (
            option
            and b"=" not in argument
            and not argument.startswith(_OFF)
            and is_secret_name(argument.lstrip(b"-"))
        )
    return result


def mask_at(read: Callable[[int, int], bytes], address: int, text: bytes) -> bytes:
    """The text at an address of the process, with what is or holds a secret masked: by what stands
    before it, too, as in the environment and the arguments."""
    *earlier, begun = _before(read, address).split(b"\0")
    if begun:
        # It points into a text: what is masked in the whole may be what it points to.
        return MASK if mask_assignment(begun + text) != begun + text else text
    shown = mask_assignment(text)
    option = earlier[-1] if earlier else b""
    if option.startswith(b"-") and shown == text:
        return mask_cmdline([b"", option, text])[2]
    return shown


def _before(read: Callable[[int, int], bytes], address: int) -> bytes:
    """What lies before an address, as far as it was captured."""
    known, unknown, found = 0, _BEFORE + 1, b""
    while unknown - known > 1:
        distance = _BEFORE if unknown > _BEFORE else (known + unknown) // 2
        data = read(address - distance, distance) if address >= distance else b""
        if len(data) == distance:
            known, found = distance, data
        else:
            unknown = distance
    return found
