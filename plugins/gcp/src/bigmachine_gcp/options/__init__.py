"""What users may set, and how names of options, resources and tags are written."""
