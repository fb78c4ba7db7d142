"""DWARF as unwinding needs it: call frame information and its expressions."""
