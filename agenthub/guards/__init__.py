"""What may say no before money is spent."""
