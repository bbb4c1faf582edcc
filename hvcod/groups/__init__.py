"""MPI and Horovod: the split of the world into groups, agreement inside a group, abort."""
