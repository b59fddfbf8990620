"""Values that ledger, cache and flows share, as they are stored."""
