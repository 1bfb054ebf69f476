"""What Ocelot asks of a queue, a store and an index: each docstring states the guarantee, not the mechanism.

Every call has a deadline and raises `core.errors.Unavailable` when its backend is down, slow or refusing (`Blocked`
when it answers but takes no writes). Nothing here retries: retries are the caller's.
"""

from __future__ import annotations

from core.ports.accounts import Account, Accounts, Tally
from core.ports.archive import Archive
from core.ports.control import AccessSnapshot, Control
from core.ports.feed import EventFeed, FeedEvent, Reading, Watch
from core.ports.index import EventIndex, Generation, HitPage, IndexDocument, IndexOutcome
from core.ports.keys import ApiKey, Keys, KeySecret
from core.ports.ledger import Heartbeat, Hole, Ledger, Rebuilding, Receipt
from core.ports.pending import Outbox, OutboxEntry, Parked, Parking
from core.ports.purge import Person, Purge, Tombstone, Tombstones
from core.ports.quarantine import Quarantine, Quarantined
from core.ports.queue import Depth, Lease, Message, Queue
from core.ports.searches import SavedSearch, SavedSearches
from core.ports.store import Drained, EventStore, InsertOutcome, Stored, StorePage, StoreRow
from core.ports.usage import Amounts, DayUsage, Part, Usage

__all__ = [
    "AccessSnapshot",
    "Account",
    "Accounts",
    "Amounts",
    "ApiKey",
    "Archive",
    "Control",
    "DayUsage",
    "Depth",
    "Drained",
    "EventFeed",
    "EventIndex",
    "EventStore",
    "FeedEvent",
    "Generation",
    "Heartbeat",
    "HitPage",
    "Hole",
    "IndexDocument",
    "IndexOutcome",
    "InsertOutcome",
    "KeySecret",
    "Keys",
    "Lease",
    "Ledger",
    "Message",
    "Outbox",
    "OutboxEntry",
    "Parked",
    "Parking",
    "Part",
    "Person",
    "Purge",
    "Quarantine",
    "Quarantined",
    "Queue",
    "Reading",
    "Rebuilding",
    "Receipt",
    "SavedSearch",
    "SavedSearches",
    "StorePage",
    "StoreRow",
    "Stored",
    "Tally",
    "Tombstone",
    "Tombstones",
    "Usage",
    "Watch",
]
