"""From a description of a run to its working parts."""
