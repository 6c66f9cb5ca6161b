"""What participants and the admin prove who they are with: tickets, form tokens, codes, made of the study's secret."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from hashlib import sha256

NONCE_BYTES = 16
MAC_BYTES = 16
TICKET = 22  # characters of each half, in base64
LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # none that is easily taken for another
HALF_CODE = 5
HOURS = 12  # of an admin's visit


class Keys:
    """Makes and checks; the same secret makes the same, so that all outlive a restart of the server."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.cookie = f"study-{self._mac('cookie').hex()[:8]}"  # cookies do not tell two ports of a machine apart

    def new_ticket(self) -> str:
        """Make what one participant's cookie and personal link hold: random, and marked as made here."""
        nonce = _text(secrets.token_bytes(NONCE_BYTES))
        return nonce + _text(self._mac("ticket", nonce))

    def participant(self, ticket: str) -> str | None:
        """Return the id that a ticket stands for, from which the ticket cannot be found; None for one not made here."""
        nonce, mark = ticket[:TICKET], ticket[TICKET:]
        if not _is_equal(mark, _text(self._mac("ticket", nonce))):
            return None
        # A letter before the digits keeps programs that read CSV from taking it for a number.
        return "p" + self._mac("participant", nonce).hex()

    def form_token(self, participant: str, page: str) -> str:
        """Make what a page's form holds, and no other page's nor another participant's."""
        return _text(self._mac("form", participant, page))

    def is_form_token(self, token: str, participant: str, page: str) -> bool:
        """Tell whether a form came from this page of this participant."""
        return _is_equal(token, self.form_token(participant, page))

    def code(self, participant: str) -> str:
        """Make the code that shows to a crowd platform that a participant has finished; of it 32 ** 10 exist."""
        letters = "".join(LETTERS[byte % len(LETTERS)] for byte in self._mac("code", participant)[: 2 * HALF_CODE])
        return f"{letters[:HALF_CODE]}-{letters[HALF_CODE:]}"

    def new_visit(self, admin_token: str) -> str:
        """Make the cookie of an admin who has shown the token: it ends by itself, and with the token."""
        until = str(int(time.time()) + HOURS * 3600)
        return f"{until}.{_text(self._mac('admin', admin_token, until))}"

    def is_visit(self, cookie: str, admin_token: str) -> bool:
        """Tell whether a cookie was made for this token and has not ended."""
        until, _, mark = cookie.partition(".")
        return _is_equal(mark, _text(self._mac("admin", admin_token, until))) and time.time() < int(until)

    def _mac(self, *parts: str) -> bytes:
        # As JSON, no two lists of parts are one text.
        return hmac.digest(self._secret, json.dumps(parts).encode(), sha256)[:MAC_BYTES]


def is_admin_token(found: str, expected: str) -> bool:
    """Compare in a time that does not tell how much of it is right."""
    return _is_equal(found, expected)


def _is_equal(found: str, expected: str) -> bool:
    return hmac.compare_digest(found.encode("utf-8", "replace"), expected.encode())


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
