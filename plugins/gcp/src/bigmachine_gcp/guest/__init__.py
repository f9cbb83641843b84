"""What a VM boots with, and what it does by itself, on the machine."""
