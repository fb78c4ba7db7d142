"""Parts of the report that are made of addresses: stacks, memory, modules, mappings."""
