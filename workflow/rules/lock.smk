from soteacher.study.lock import alone


def runs_jobs(executor_plugin, *arguments, **settings):
    """Whether this Snakemake runs the jobs of the study: as no worker of another one, no dry run."""
    return workflow.is_main_process and not executor_plugin.common_settings.dryrun_exec


def say(line):
    print(f"soteacher: {line}", file=sys.stderr)


# Two Snakemakes would delete each other's outputs. The second waits here: it has read the study and
# has not looked for files yet. The profiles switch off Snakemake's own lock, see profiles/default.
workflow.execute = alone(workflow.execute, Path(RESULTS), runs_jobs, say)
