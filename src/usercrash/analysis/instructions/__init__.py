"""Machine code: its text, what its patterns say, where it leads."""
