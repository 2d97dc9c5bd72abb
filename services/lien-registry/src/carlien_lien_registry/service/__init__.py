"""Use cases: writing to the ledger, following it, searching and certifying."""
