"""Claude Code as a session: an extra, since its program is large. Only `session` imports the SDK, and late."""
