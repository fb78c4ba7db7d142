"""A worker: what waits behind the kernel's coredump socket. The client behind another door."""
