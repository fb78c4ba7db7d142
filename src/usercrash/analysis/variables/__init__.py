"""Arguments and local variables: where they are, and their values as the language writes them."""
