"""Makes a Report of a minicore and ELF files: no privileges, the process long gone."""
