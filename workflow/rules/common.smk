import gc
import inspect
import shlex
from importlib.util import find_spec

import soteacher
from soteacher import __version__
from soteacher.core import gpus
from soteacher.core.errors import UserError
from soteacher.core.hashing import canonical_json
from soteacher.study.claims_record import claims_record
from soteacher.study.expand import expand_possible
from soteacher.study.load import read
from soteacher.study.requests import Request
from soteacher.study.run_table import runs_record
from soteacher.study.summary import MEASURES_FORMAT, block_record, caption, page_summary


def refuse(error):
    """End Snakemake with the one line that says what is wrong with the study."""
    print(f"soteacher: error: {error}", file=sys.stderr)
    sys.exit(2)


try:
    values = study_values()
    check_names(values)
    PLAN = expand_possible(read(values, "config"))
    STUDY = PLAN.study
    RESULTS = f"results/{STUDY.study}"
    # the folder is in the params of jobs that are finished: under another name they would run again
    REQUESTS = f"{RESULTS}/asked"
    JOBS = {
        role: {
            name: Request.of(REQUESTS, f"{role}s-{name}", job.request) for name, job in jobs.items()
        }
        for role, jobs in PLAN.jobs.items()
    }
    NUMBERS = {role: {name: i for i, name in enumerate(jobs, 1)} for role, jobs in JOBS.items()}
    BLOCKS = {name: Request.of(REQUESTS, name, block_record(PLAN, name)) for name in PLAN.contents}
    TIMED = {
        name: Request.of(REQUESTS, f"time_steps-{name}", request)
        for name, request in PLAN.timed.items()
    }
    RUNS = Request.of(REQUESTS, "runs", runs_record(PLAN))
    CLAIMS = Request.of(REQUESTS, "claims", claims_record(PLAN))
    PAGE = None if PLAN.impossible else Request.of(REQUESTS, "page", page_summary(PLAN))
except UserError as error:
    refuse(error)

# the plan stays until the end, and so do the jobs that Snakemake makes of it: of thousands of runs,
# millions of objects, among which Python would look for garbage again and again
gc.freeze()
gc.set_threshold(100_000)

HAS_TORCH = find_spec("torch") is not None

# 1 if the study asks for a GPU, or if there is one here that it may use
GPU = int(STUDY.device == "cuda" or STUDY.device == "auto" and bool(gpus.usable()))


wildcard_constraints:
    data="|".join(STUDY.data),
    role="teacher|student",
    # a list of all names would be read again for every job
    job="[^/]+-[0-9a-f]{10}",
    measured="[^/]+-[0-9a-f]{10}",
    table="|".join(STUDY.tables),
    figure="|".join(STUDY.figures) or "none",
    timed="|".join(TIMED) or "none",


# Snakemake formats this path, so braces are doubled
if HOME.is_dir():
    ENVIRONMENT = str(HOME / "environment.yml").replace("{", "{{").replace("}", "}}")
else:  # this is a module from a repository: Snakemake fetches the file by its path from the rules
    ENVIRONMENT = "../../environment.yml"

# how networks are trained and timed, not what they are
HOW = f"--device {STUDY.device} --threads {STUDY.threads}"
HOW += "" if STUDY.deterministic else " --nondeterministic"
ALLOWED = "--allow-cpu" if STUDY.allow_cpu else ""
SHARED = f"--jobs-per-gpu {STUDY.jobs_per_gpu}"
if STUDY.methods:  # where method files are; what they say is in the runs' specs
    SHARED += f" --methods {shlex.join(STUDY.methods)}"
if STUDY.networks:
    SHARED += f" --networks {shlex.join(STUDY.networks)}"
LOGGED = f"--loggers {shlex.join(STUDY.loggers)} --results {RESULTS}" if STUDY.loggers else ""


def fast(function):
    """Keep the signature of a function of a rule, which Snakemake inspects many times per job."""
    function.__signature__ = inspect.signature(function)
    return function


def requested(request):
    """The path of a request's file, which is written if jobs may run.

    Params call this: then Snakemake knows whether it was called to run jobs, or as a worker of
    another Snakemake, or only to list what it would do.
    """
    runs_jobs = workflow.executor_plugin is not None and not workflow.dryrun
    return request.write() if runs_jobs else request.path


def write_requests():
    """Write the request files of the whole study, also of what is not asked for now."""
    jobs = [request for named in JOBS.values() for request in named.values()]
    lists = [measures_list(block) for block in BLOCKS] + [RUNS, CLAIMS, all_measures_list()]
    for request in [*jobs, *BLOCKS.values(), *lists, *TIMED.values(), *([PAGE] if PAGE else [])]:
        request.write()


def how(role, name):
    """How runs are trained, and the number of the job; not what the runs are.

    A change of these is no reason to rerun a job. So rules get them from a function of `output`,
    which Snakemake does not compare.
    """
    job = f"--job '{role}s, {NUMBERS[role][name]} of {len(JOBS[role])}'"
    return f"{HOW} {ALLOWED} {SHARED} --save-every {STUDY.save_every} {LOGGED} {job}"


def whole_machine(wildcards):
    """All cores of this Snakemake, so that no other job runs beside this one.

    In a cluster, jobs on other nodes do not matter: a job asks for the cores that it uses.
    """
    cores = workflow.resource_settings.cores
    return cores if workflow.local_exec and cores else STUDY.threads


@fast
def soteacher_of(wildcards, output):
    """The command `soteacher` of the package that was imported here, as Python and its argument.

    Without conda and containers, the Python that runs Snakemake also runs jobs, so the environment
    needs no activation. If it has no torch, jobs use `python` of the PATH, as in conda's
    environments. These have no soteacher, and Snakemake removes PYTHONPATH from them: so the package
    is called by its path. This is also a function of `output`: moving the clone or the environment
    is no reason to rerun a job.
    """
    own = not workflow.deployment_settings.deployment_method and HAS_TORCH
    return [sys.executable if own else "python", str(Path(soteacher.__file__).parent)]


def check_possible(block):
    """Refuse a table or figure that the rest of the study makes impossible, where it is needed."""
    try:
        PLAN.check([block])
    except UserError as error:
        refuse(error)


def job_of(role, name):
    """The job of a name; a file with another name is of another version of the study."""
    if name not in JOBS[role]:
        refuse(f"the study has no job '{name}' of {role}s: `snakemake -n` lists its jobs")
    return PLAN.jobs[role][name]


def measured(wildcards):
    """The job that measures runs, by the names in its output."""
    role, name = wildcards.role, wildcards.measured
    if name not in PLAN.measure_jobs[role]:
        refuse(f"the study has no measures '{name}' of {role}s: `snakemake -n` lists its jobs")
    return PLAN.measure_jobs[role][name]


@fast
def store_of(wildcards, output):
    """The store; a function of `output`, as a moved store is no reason to rerun a job."""
    return STUDY.store


@fast
def tries_of(wildcards, attempt):
    """The number of the attempt at a job, for its command."""
    return attempt


def data_of(job):
    return f"{RESULTS}/data/{job.data}.json"


def manifest_of(job):
    return f"{RESULTS}/runs/{job.role}s/{job.name}.json"


def measures_of(block, *kinds):
    """Measures of all runs of a table or figure; kinds may be `.epochs`, `.reliability` and
    `.disagreement`."""
    check_possible(block)
    jobs = PLAN.measure_jobs_of(PLAN.runs_of(block))
    stems = [f"{RESULTS}/measures/{job.role}s/{job.name}" for job in jobs]
    return [f"{stem}{kind}.csv" for kind in kinds or ("",) for stem in stems]


def measures_list(block):
    """The request with the list of a block's measures, which a command line may not hold."""
    return Request.of(REQUESTS, f"measures-{block}", measures_of(block))


def all_measures(kind=".csv"):
    """Measures of all runs of the study, or the lists of their hashes."""
    jobs = PLAN.measure_jobs.items()
    return [f"{RESULTS}/measures/{role}s/{name}{kind}" for role, named in jobs for name in named]


def all_measures_list():
    """The request with the list of the measures of all runs."""
    return Request.of(REQUESTS, "measures-runs", all_measures())


def steps_of(table):
    """Times of the training steps of a table of those."""
    return [f"{RESULTS}/overhead/{table}{kind}.csv" for kind in ("", ".methods") if table in TIMED]


def all_steps(*kinds):
    """Times of the training steps of all tables of those, or other files beside them."""
    return [f"{RESULTS}/overhead/{table}{kind}" for kind in kinds for table in TIMED]


def hashes_of(block):
    """The lists of hashes of all that a table or figure reads."""
    return [
        str(Path(path).with_suffix(".sha256"))
        for path in [*measures_of(block), *steps_of(block)[:1]]
    ]


@fast
def teachers_of(wildcards):
    """Manifests of the teachers of a job of students."""
    runs = job_of("student", wildcards.job).runs
    return [manifest_of(job) for job in PLAN.jobs_of(run.teacher for run in runs)]


def data_timed(table):
    """Manifests of the data on which training steps are timed for a table."""
    networks = PLAN.timed[table]["networks"] if table in TIMED else ()
    return sorted({f"{RESULTS}/data/{network['data']}.json" for network in networks})


def target_of(block):
    """The files that the target of a table or figure makes.

    They include the data: after a failed preparation, Snakemake would otherwise accept the table
    of the old data.
    """
    check_possible(block)
    file = f"tables/{block}.md" if block in STUDY.tables else f"figures/{block}.png"
    data = {data_of(run) for run in PLAN.runs_of(block)}
    return [f"{RESULTS}/{file}", *sorted(data), *data_timed(block)]
