from snakemake.utils import min_version

min_version("9.20")


include: "workflow/Snakefile"


# an include resets the default target: without this, `snakemake` would do nothing (snakemake#2773)
workflow.default_target = "all"
