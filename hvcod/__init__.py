"""hvcod: codistillation (Anil et al. 2018) for HPC clusters, on Horovod and MPI."""

__version__ = "0.1.0"
