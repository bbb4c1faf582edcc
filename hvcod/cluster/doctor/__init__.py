"""``hvcod doctor``: checks that training would run here, and says what is wrong and how to fix it.

``hvcod doctor --json`` prints one object:

    ok          true unless a check failed
    checks      [{"check", "result": "ok" | "warning" | "failed" | "skipped", "found", "mend"}]
    measured    numbers under the names below; null where it could not be measured
    versions    {name: version} of everything that a bug report needs
    launch      ranks, groups, nodes, the command's options
    ranks       the facts of each rank

The names of ``measured`` are a contract: ``hvcod plan --doctor FILE`` and others read them.

    allreduce_bytes_per_s       through Horovod inside a group, of the slowest group: bytes of the
                                message / seconds (algorithm bandwidth); null in groups of one rank
    allreduce_latency_s         median seconds for a message of one number, slowest group
    allreduce_bytes             size of that message
    allreduce_ranks             ranks in a group
    allreduce_nodes             nodes that a group spans, at most
    mpi_allreduce_bytes_per_s   as allreduce_bytes_per_s, by MPI alone, from host memory
    groups                      [{"group", "ranks", "nodes", "allreduce_bytes_per_s",
                                "allreduce_latency_s", "mpi_allreduce_bytes_per_s"}]
    publish_bytes_per_s         bytes of a published checkpoint / seconds from weights in memory to
                                a visible file (rounding, digest, write, fsync, rename)
    publish_to_visible_s        from a visible file to verified weights in another process's memory,
                                median of several, of the slowest reader
    publish_bytes               size of that checkpoint
    publish_nodes               nodes that wrote or read it; 1 if all ranks are on one node
    write_bytes_per_s           plain write and fsync in the run directory, by one process
    free_bytes                  free in the run directory's file system
    import_s                    mpi4py, torch and Horovod, h5py: seconds, slowest rank
    start_s                     from the start of the process until Horovod is ready, slowest rank
"""
