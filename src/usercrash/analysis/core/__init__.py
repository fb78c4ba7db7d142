"""What the core holds: threads, memory, notes; the modules in it, and their files."""
