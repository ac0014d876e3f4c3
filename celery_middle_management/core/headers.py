"""The headers of a message that is counted."""

from __future__ import annotations

#: The header that a counted message bears; its value is the queue that it was published to.
HEADER = "mm_queue"
#: Where copies of it go to several queues, all of them.
COPIES = "mm_queues"
#: When it could be started: published, or due. The ledger's time, as far as who published knew it.
STARTABLE = "mm_startable"
