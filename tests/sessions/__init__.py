"""Sessions: the journal, the conversation, the backends."""
