import shutil

from soteacher.errors import UserError
from soteacher.settings import canonical
from soteacher.study.describe import page_param, planned, table_param
from soteacher.study.plan import expand
from soteacher.study.reader import read

try:
    PLAN = expand(read(config, "config"))
    JOBS = {role: {name: job.param for name, job in PLAN.jobs[role].items()} for role in PLAN.jobs}
    TABLES = {name: table_param(PLAN, name) for name in PLAN.tables}
except UserError as error:
    print(f"soteacher: error: {error}", file=sys.stderr)
    sys.exit(2)

STUDY = PLAN.study
RESULTS = f"results/{STUDY.study}"

# how runs are trained, not what they are: a change of these is no reason to run a job again,
# so rules take them from a function of `output`, which Snakemake leaves out of its comparison
HOW = f"--device {STUDY.device} --threads {STUDY.threads} --save-every {STUDY.save_every}"
HOW += "" if STUDY.deterministic else " --nondeterministic"


# a slot of a GPU, where the study asks for one or this machine has one
GPU = int(
    STUDY.device == "cuda" or STUDY.device == "auto" and shutil.which("nvidia-smi") is not None
)


wildcard_constraints:
    data="|".join(STUDY.data),
    role="teacher|student",
    job="|".join(name for named in JOBS.values() for name in named),
    table="|".join(TABLES),


def data_of(job):
    return f"{RESULTS}/data/{job.data}.json"


def manifest_of(job):
    return f"{RESULTS}/runs/{job.role}s/{job.name}.json"


def measures_of(job):
    return f"{RESULTS}/measures/{job.role}s/{job.name}.csv"


def teachers_of(wildcards):
    """Manifests of the teachers of a job of students."""
    runs = PLAN.jobs["student"][wildcards.job].runs
    return [manifest_of(job) for job in PLAN.jobs_of(run.teacher for run in runs)]


def measures_for(wildcards):
    """Measures of all runs of a table."""
    runs = (run for cell in PLAN.tables[wildcards.table] for run in cell.runs)
    return [measures_of(job) for job in PLAN.jobs_of(runs)]
