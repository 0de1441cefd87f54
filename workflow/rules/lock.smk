from soteacher.study.lock import alone


def runs_jobs(executor_plugin, *arguments, **settings):
    """Whether this Snakemake runs the jobs of the study: as no worker of another one, no dry run."""
    return workflow.is_main_process and not executor_plugin.common_settings.dryrun_exec


def say(line):
    print(f"soteacher: {line}", file=sys.stderr)


def start_jobs():
    """Write the request files of all jobs, or mend them if they changed; then tell the progress."""
    tell_progress()
    try:
        write_requests()
    except UserError as error:  # results may be read-only, and nothing left to do
        say(error)


# Two Snakemakes would delete each other's outputs. The second waits here: it has read the study and
# has not looked for files yet. The profiles switch off Snakemake's own lock, see profiles/default.
# No function of this file calls `execute`: Snakemake would name this file beside errors of jobs.
workflow.execute = alone(workflow.execute, Path(RESULTS), runs_jobs, start_jobs, say)
