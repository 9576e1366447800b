"""From nodes to kernel calls: one table, one file a family of operators."""
