"""The machine around us: installation, units, sysctl."""
