"""Codecs of the device protocols: pure functions from bytes to records and back.

Nothing here does I/O, logs or needs another package than the standard library.
"""
