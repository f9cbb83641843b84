"""What a session may launch, in which order: found and checked before anything is purchased."""
