"""The process's own facts, from /proc and siginfo, parsed with suspicion."""
