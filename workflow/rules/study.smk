from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from soteacher.study.load import merged, overridden
from soteacher.study.plain_values import check_plain


def study_values():
    """The plain values of the study: its files, read by YAML 1.2, and then `--config`.

    Snakemake reads files by YAML 1.1, so the files are read again. If a `module` statement hands
    over other values than those of the files, they are the study.
    """
    settings = workflow.config_settings
    last = (
        workflow.overwrite_configfiles
    )  # after `--configfile`: these override those in Snakefiles
    replaced = settings.replace_workflow_config and settings.overwrite_config
    first = [] if replaced else workflow.configfiles[len(last) :]
    files = [*first, *last]
    if not files or workflow.modifier.skip_configfile and not _are_config(files, settings):
        return config
    return overridden(merged(*files), settings.config)


def _are_config(files, settings):
    """Whether `config`, which a `module` statement hands over, has just the values of the files."""
    check_plain(config, "config")
    values = {}
    for file in files:
        update_config(values, load_configfile(file))
    update_config(values, settings.config)
    return values == config
