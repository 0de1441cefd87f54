from soteacher.study.lock import alone


def runs_jobs(executor_plugin, *arguments, **settings):
    """Whether this Snakemake runs the jobs of the study: as no worker of another one, no dry run."""
    return workflow.is_main_process and not executor_plugin.common_settings.dryrun_exec


def say(line):
    print(f"soteacher: {line}", file=sys.stderr)


def with_requests(execute):
    """`execute`, after the request files of all jobs are written or, if they changed, mended."""

    def execute_study(*arguments, **settings):
        if runs_jobs(*arguments, **settings):
            try:
                write_requests()
            except UserError as error:  # results may be read-only, and nothing left to do
                say(error)
        return execute(*arguments, **settings)

    return execute_study


# Two Snakemakes would delete each other's outputs. The second waits here: it has read the study and
# has not looked for files yet. The profiles switch off Snakemake's own lock, see profiles/default.
workflow.execute = alone(with_requests(workflow.execute), Path(RESULTS), runs_jobs, say)
