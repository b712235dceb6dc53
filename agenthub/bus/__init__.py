"""The bus: the only room that imports nats."""
