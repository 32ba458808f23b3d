"""What a sidecar may look like, and what it may not."""

import pytest

from engine.release.errors import InvalidSidecar
from engine.release.sidecar import SIDECAR_LIMIT_BYTES, digest_for

_NAME = "emqx-enterprise-5.10.5-debian12-amd64.tar.gz"
_DIGEST = "0123456789abcdef" * 4
_OTHER = "fedcba9876543210" * 4


@pytest.mark.parametrize(
    "content",
    [
        _DIGEST,
        f"{_DIGEST}\n",
        f"{_DIGEST}  \n",
        f"{_DIGEST.upper()}\n",
        f"{_DIGEST}  {_NAME}\n",
        f"{_DIGEST} *{_NAME}\n",
        f"{_DIGEST}  {_NAME}\r\n",
        f"{_DIGEST}  {_NAME}\n\n\r\n",
        f"\n{_DIGEST}  {_NAME}\n",
        f"{_DIGEST}  /build/dist/{_NAME}\n",
        f"{_DIGEST}  before-it-was-renamed.tar.gz\n",
        f"{_DIGEST}  name with spaces.tar.gz\n",
        f"SHA256 ({_NAME}) = {_DIGEST}\n",
        f"SHA256({_NAME})= {_DIGEST}\n",
        f"SHA2-256({_NAME})= {_DIGEST.upper()}\r\n",
        f"{_OTHER}  another.tar.gz\n{_DIGEST}  {_NAME}\n",
        f"{_OTHER}  {_NAME}.sig\n{_DIGEST} *./{_NAME}\n",
        f"{_DIGEST}  {_NAME}\n{_DIGEST.upper()}  {_NAME}\n",
        f"{_OTHER}\n{_DIGEST}  {_NAME}\n",
        f"{_DIGEST}\n{_DIGEST}\n",
        f"SHA256 (another) = {_OTHER}\nSHA256 ({_NAME}) = {_DIGEST}\n",
    ],
)
def test_every_form_that_tools_write_gives_the_digest(content: str) -> None:
    """Bare, sha256sum's text and binary, BSD's and OpenSSL's form, in any case and with any line end."""
    assert digest_for(_NAME, content.encode()) == _DIGEST


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        ("\r\n \n", "empty"),
        (_DIGEST + "\n" * SIDECAR_LIMIT_BYTES, "too_long"),
        (_DIGEST[:40], "other_digest_length"),
        (_DIGEST + _DIGEST[:32], "other_digest_length"),
        (_DIGEST[:-1], "malformed"),
        (f"{_DIGEST} {_NAME}", "malformed"),
        (f"\ufeff{_DIGEST}", "malformed"),
        ("５" * 64, "malformed"),
        (f"{_DIGEST}  {_NAME}\nand a word", "malformed"),
        (f"{_DIGEST}  {_NAME}\n{_OTHER}  {_NAME}", "ambiguous"),
        (f"{_DIGEST}\n{_OTHER}", "ambiguous"),
        (f"{_DIGEST}  a\n{_OTHER}  b", "names_another_file"),
    ],
)
def test_what_is_no_digest_for_this_tarball_is_refused_with_its_reason(content: str, reason: str) -> None:
    """Nothing is guessed: each unusable sidecar has its own reason and message."""
    with pytest.raises(InvalidSidecar) as refused:
        digest_for(_NAME, content.encode())
    assert refused.value.reason == reason


def test_the_messages_of_the_reasons_differ() -> None:
    """An operator can tell the reasons apart by what is said."""
    contents = [
        "",
        "x" * (SIDECAR_LIMIT_BYTES + 1),
        _DIGEST[:32],
        "?",
        f"{_DIGEST}\n{_OTHER}",
        f"{_DIGEST}  a\n{_OTHER}  b",
    ]
    said = set()
    for content in contents:
        with pytest.raises(InvalidSidecar) as refused:
            digest_for(_NAME, content.encode())
        said.add(refused.value.happened)
    assert len(said) == len(contents)
