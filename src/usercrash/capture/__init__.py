"""Takes a process home: privileged, standard library only, while the process is held."""
