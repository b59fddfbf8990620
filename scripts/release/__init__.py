"""`make release`: build the packages, try them where nothing else is, and upload nothing."""
