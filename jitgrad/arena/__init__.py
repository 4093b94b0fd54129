"""The graph as flat arrays: its columns, the storage pool, recording an op, running backward.

Reading order: `columns` (the one table of what is stored), `storage` and `rows` (lifetime), `shapes`,
`pointwise` and `driver` (recording), `backward`, and last `engine`, the Python side that owns it all.
Everything but `columns` and `engine` is jitted and imported by the compiler only.
"""
