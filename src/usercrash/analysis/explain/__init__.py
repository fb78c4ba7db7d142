"""Why it died: the cause, and what it is found from."""
