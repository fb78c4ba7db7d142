"""From a thread's registers to the frames on its stack."""
