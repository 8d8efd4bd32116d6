"""Photographs -> shards of pseudo-labels: depth, classes and captions, resumable, on one machine or many."""

from leadline.label.order import Order
from leadline.label.run import Summary, label
from leadline.label.shard import Failure, verify

__all__ = ["Failure", "Order", "Summary", "label", "verify"]
