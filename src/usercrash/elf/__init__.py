"""Facts of the ELF format and of the architectures' ABIs, as tables. Standard library only."""
