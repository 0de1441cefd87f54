import shlex
import shutil

import soteacher
from soteacher import __version__
from soteacher.core.errors import UserError
from soteacher.core.hashing import canonical_json
from soteacher.study.requests import write_request
from soteacher.study.summary import caption, figure_block, page_summary, table_block
from soteacher.study.expand import expand
from soteacher.study.load import read, values_of

try:
    for path in workflow.configfiles:
        values_of(path)  # of a key that is there twice, Snakemake takes the last
    PLAN = expand(read(config, "config"))
    STUDY = PLAN.study
    RESULTS = f"results/{STUDY.study}"
    ASKED = f"{RESULTS}/asked"
    JOBS = {
        role: {name: write_request(ASKED, f"{role}s-{name}", job.request) for name, job in jobs.items()}
        for role, jobs in PLAN.jobs.items()
    }
    TABLES = {name: write_request(ASKED, name, table_block(PLAN, name)) for name in PLAN.tables}
    TIMED = {name: write_request(ASKED, f"time_steps-{name}", PLAN.timing_request(name)) for name in PLAN.timed}
    FIGURES = {name: write_request(ASKED, name, figure_block(PLAN, name)) for name in PLAN.figures}
    PAGE = write_request(ASKED, "page", page_summary(PLAN))
except UserError as error:
    print(f"soteacher: error: {error}", file=sys.stderr)
    sys.exit(2)

# a slot of a GPU, where the study asks for one or this machine has one
GPU = int(
    STUDY.device == "cuda" or STUDY.device == "auto" and shutil.which("nvidia-smi") is not None
)


wildcard_constraints:
    data="|".join(STUDY.data),
    role="teacher|student",
    job="|".join(name for named in JOBS.values() for name in named) or "none",
    table="|".join(TABLES),
    figure="|".join(FIGURES) or "none",
    timed="|".join(TIMED) or "none",


# how networks are trained and timed; nothing of what they are
HOW = f"--device {STUDY.device} --threads {STUDY.threads}"
HOW += "" if STUDY.deterministic else " --nondeterministic"
ALLOWED = "--allow-cpu" if STUDY.allow_cpu else ""
SHARED = f"--jobs-per-gpu {STUDY.jobs_per_gpu}"
if STUDY.methods:  # where method files are; what they say is in the runs' specs
    SHARED += f" --methods {shlex.join(STUDY.methods)}"


def how(role, name):
    """How runs are trained, and which job of how many this is; nothing of what the runs are.

    A change of these is no reason to run a job again, so rules take them from a function of
    `output`, which Snakemake leaves out of its comparison.
    """
    number = list(JOBS[role]).index(name) + 1
    job = f"--job '{role}s, {number} of {len(JOBS[role])}'"
    return f"{HOW} {ALLOWED} {SHARED} --save-every {STUDY.save_every} {job}"


def package(wildcards, output):
    """The folder of the package that was imported here, which `python` is to run.

    It is not in conda's environments, and Snakemake takes PYTHONPATH from them. A function of
    `output` too: a clone that moved is no reason to run a job again.
    """
    return Path(soteacher.__file__).parent


def data_of(job):
    return f"{RESULTS}/data/{job.data}.json"


def manifest_of(job):
    return f"{RESULTS}/runs/{job.role}s/{job.name}.json"


def measures_of(block, *kinds):
    """Measures of all runs of a table or figure; kinds may be `.epochs` and `.reliability`.

    Of a table of training steps, these.
    """
    if block in TIMED:
        return [f"{RESULTS}/overhead/{block}{kind}.csv" for kind in ("", ".methods")]
    jobs = PLAN.jobs_of(PLAN.runs_of(block))
    stems = [f"{RESULTS}/measures/{job.role}s/{job.name}" for job in jobs]
    return [f"{stem}{kind}.csv" for kind in kinds or ("",) for stem in stems]


def teachers_of(wildcards):
    """Manifests of the teachers of a job of students."""
    runs = PLAN.jobs["student"][wildcards.job].runs
    return [manifest_of(job) for job in PLAN.jobs_of(run.teacher for run in runs)]


def data_timed(table):
    return sorted({data_of(timed) for timed in PLAN.timed.get(table, ())})


def target_of(block):
    """What the target of a table or figure asks for.

    The data too: after a preparation that failed, Snakemake would take the table of the data
    before for the new one.
    """
    file = f"tables/{block}.md" if block in PLAN.tables else f"figures/{block}.png"
    data = {data_of(run) for run in PLAN.runs_of(block)}
    return [f"{RESULTS}/{file}", *sorted(data), *data_timed(block)]
