"""Tools for those who write an adapter, beside what ``onrecord`` exports."""
