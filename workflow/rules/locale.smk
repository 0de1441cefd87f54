from soteacher.core.errors import UserError


def check_names(values):
    """Refuse file names that the locale cannot represent; Snakemake would pass on others.

    The commands of this package use UTF-8 in every locale, but Snakemake itself does not.
    """
    methods = values.get("methods") or []
    names = [values.get("store"), *(methods if isinstance(methods, list) else [])]
    strange = [name for name in map(str, names) if not name.isascii()]
    if strange and sys.getfilesystemencoding() != "utf-8":
        raise UserError(
            f"the study names the file '{strange[0]}', but file names are not UTF-8 in this "
            "locale: run `export LC_ALL=C.UTF-8`, then the same command"
        )
