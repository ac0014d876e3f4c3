"""Sends the history to the webhook: each entry at most once, whichever process wrote it.

The history itself is the queue. A messenger claims the next entries in the ledger, and only then
sends them. If its process dies before the claim, the next process that evaluates claims them; if it
dies between the claim and the answer, this one message may be lost, and is never doubled.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import Protocol

import redis

from celery_middle_management import threads
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.reporting import webhook
from celery_middle_management.reporting.message import message_of
from celery_middle_management.reporting.side_work import SideWork
from celery_middle_management.settings.secret import Secret

logger = logging.getLogger("celery_middle_management")

#: One message is about at most this many entries.
MOST_ENTRIES = 10
#: Messages are this long (s) apart: Slack takes one a second.
GAP = 1.0
#: A message that surely was not delivered is sent again for this long (s), ...
TRY_FOR = 60.0
#: ... first after this time (s), then after twice as long each time.
FIRST_WAIT = 1.0


class History(Protocol):
    """Where the entries come from."""

    def claim(self, id: str, most: int) -> list[str]:
        """Return at most *most* entries that no process has claimed, and claim them.

        The same *id* gets the same entries again.
        """


class Messenger:
    """Sends the messages of one app in one process, one at a time, in a thread of its own."""

    def __init__(self, app: str, address: Secret, history: Callable[[], History]) -> None:
        self._app = app
        self._address = address
        self._history = history
        self._trouble = LogThrottle(logger)
        self._thread = SideWork("mm-messages", self._deliver)
        #: The id of the next claim, or of the last one if it got no answer.
        self._next_claim = secrets.token_hex(8)
        #: When (``monotonic()``) the last message was sent.
        self._last = -inf
        #: Called after an evaluation, and to wait until there is nothing to send.
        self.wake, self.wait = self._thread.wake, self._thread.wait

    def _deliver(self, until: float) -> None:
        """Send what there is to tell, as far as possible *until* then."""
        while True:
            # Claim only what can be sent at once: other processes may live longer.
            gap = self._last + GAP - monotonic()
            if self._thread.stop or monotonic() + gap >= until:
                return
            threads.sleep(max(gap, 0.0))
            entries = self._claim()
            if entries:
                self._send(message_of(self._app, [json.loads(entry) for entry in entries]), until)
            if len(entries) < MOST_ENTRIES:
                return  # What is written from now on is followed by another wake.

    def _claim(self) -> Sequence[str]:
        if self._thread.stop:
            return ()
        try:
            entries = self._history().claim(self._next_claim, MOST_ENTRIES)
        except (redis.RedisError, OSError) as error:
            self._trouble.warn("redis", "messages wait because Redis failed: %s", error)
            return ()
        self._next_claim = secrets.token_hex(8)
        return entries

    def _send(self, body: bytes, until: float) -> None:
        """Send one message; send it again only if it surely was not delivered."""
        give_up = min(monotonic() + TRY_FOR, until)
        wait = FIRST_WAIT
        while True:
            longest = min(webhook.TOTAL_TIMEOUT, max(give_up - monotonic(), 0.1))
            outcome = webhook.post(self._address, body, longest)
            self._last = monotonic()
            if not outcome.trouble:
                return
            pause = max(wait, outcome.again_in)
            if not outcome.undelivered or monotonic() + pause >= give_up or self._thread.stop:
                break
            threads.sleep(pause)
            wait *= 2
        self._trouble.warn("webhook", "a message about workers was lost: %s", outcome.trouble)
