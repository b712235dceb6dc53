"""agenthub: the runtime on which an organization of LLM agents works day and night."""

__version__ = "0.1.0"
