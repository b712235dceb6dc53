"""What a session may do, one file per family."""
