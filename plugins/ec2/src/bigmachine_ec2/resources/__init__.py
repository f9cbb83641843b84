"""What exists at the provider: networks and firewalls, the VMs of sessions, leftovers."""
