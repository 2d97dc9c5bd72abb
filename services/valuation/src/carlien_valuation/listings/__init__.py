"""Listings of any market: a mapping file, its cells parsed, implausible rows rejected with a reason, duplicates grouped."""
