"""Live events: one watch of the store for all who follow, and a place for each from which it can go on."""

from __future__ import annotations

from core.streams.hub import Limits, StreamHub
from core.streams.items import Event, Gap, Item, TooSlow
from core.streams.place import Place
from core.streams.subscription import Subscription

__all__ = ["Event", "Gap", "Item", "Limits", "Place", "StreamHub", "Subscription", "TooSlow"]
