"""The whole carlien stack on one machine, from native processes."""
