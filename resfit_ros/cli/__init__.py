"""The `resfit` command line: thin verbs over functions that scripts can call too."""
