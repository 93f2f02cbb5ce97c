"""The BITS Upload Protocol [MC-BUP] as values.

The rule of this room: pure. Nothing here touches the disk, the network, the clock, a log or a
web framework; whatever is parsed here is a frozen value that cannot be wrong, or a ``BitsError``.
"""
