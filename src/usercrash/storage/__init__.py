"""What is kept on disk: the reports directory, the event log, files that a user names."""
