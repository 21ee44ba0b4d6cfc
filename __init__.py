"""desilt keeps lakehouse tables healthy: finds, scores, compacts and commits, beside live writers.

The two names most users need:

    >>> import desilt
    >>> table = desilt.open_table("/lake/rec.db/events")
    >>> table = desilt.Catalog("/lake").table("rec.events")
"""

from .table.catalog import Catalog, open_table

__all__ = ["Catalog", "open_table"]
