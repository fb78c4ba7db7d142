"""Names and source lines for addresses: symbol tables, debug files, the cache."""
