"""The sections of the help pages. Nothing heavy is imported here: the help pages read this file."""

from enum import StrEnum


class Section(StrEnum):
    """A section of a help page, by its title. They stand in this order: the most used first.

    An option names its section (`hvcod.schema.option`), or the dataclass in which it stands does so
    for all of its options by an attribute ``SECTION``. Inside a section options stand in the order
    of their definitions.
    """

    GATE = "Gate"
    STUDY = "Study"
    EXPERIMENT = "Experiment"
    PLAN = "Plan"
    ADVICE = "Advice"
    JOB = "Job"
    LAUNCH = "Launch"
    SITE = "Requests of the site"
    RUN = "Run"
    DATA = "Data"
    MODEL = "Model and computation"
    CODISTILLATION = "Codistillation"
    OPTIMIZER = "Optimiser"
    VALIDATION = "Validation and records"
    SAVING = "Saving and resuming"
    CLUSTER = "Cluster"
    CREW = "Several runs at once"
    COMPARISON = "Comparison"
    MODELS = "Sources that are runs or checkpoints"
