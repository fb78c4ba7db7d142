"""DWARF: call frame information (cfi and what it stands on); of debug information the functions,
lines and calls at an address (debug_info and what stands on it)."""
