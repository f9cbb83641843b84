"""The system in a box, in a package without the emulation: the kit counts what a package has."""
