"""What those who write an adapter may use, beside what ``onrecord`` exports."""
