"""Claude Code as a session: its rules without it, and the real program against the rehearsal model."""
