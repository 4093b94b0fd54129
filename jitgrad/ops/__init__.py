"""What can be computed: one row an op (`table`), a file per family of ops."""
