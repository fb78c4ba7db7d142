"""ELF files and their symbol tables, read with suspicion."""
