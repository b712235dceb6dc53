"""What the organization knows: who is there, who waits for whom."""
