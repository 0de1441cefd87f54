from datetime import datetime

from snakemake.logging import logger

from soteacher.cli.progress import Pending, Progress


def pending_jobs():
    """The jobs that this Snakemake is going to run."""
    return [
        Pending(job.rule.name, dict(job.wildcards_dict), tuple(map(str, job.output)))
        for job in workflow.dag.needrun_jobs()
    ]


def tell_progress():
    """Print a line at the end of each job, in place of Snakemake's own messages about jobs.

    With `--verbose`, `--printshellcmds` or `--quiet`, and with another logger, Snakemake's messages
    stay as they are. Its log file has all of them in any case.
    """
    settings = workflow.output_settings
    if settings.verbose or settings.printshellcmds or settings.quiet:
        return
    files = " ".join(map(str, workflow.configfiles))
    watch = f"soteacher status {files or 'STUDY'} --watch"
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(
                Progress(
                    PLAN,
                    pending_jobs,
                    lambda line: print(f"{datetime.now():%F %T} {line}", file=sys.stderr),
                    watch,
                )
            )
