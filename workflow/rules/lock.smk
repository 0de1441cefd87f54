from soteacher.study.lock import one_at_a_time


def alone(execute):
    """Let one Snakemake at a time execute the jobs of a study in a working directory.

    Without this, two of them would delete each other's outputs. Only the main process takes the
    lock, after it has read the study and before it looks for files: not its workers, and no call
    that executes no job. The profiles switch off Snakemake's own lock, see profiles/default.
    """

    def execute_alone(executor_plugin, *arguments, **settings):
        if not workflow.is_main_process or executor_plugin.common_settings.dryrun_exec:
            return execute(executor_plugin, *arguments, **settings)
        with one_at_a_time(
            Path(RESULTS), lambda line: print(f"soteacher: {line}", file=sys.stderr)
        ):
            return execute(executor_plugin, *arguments, **settings)

    return execute_alone


workflow.execute = alone(workflow.execute)
