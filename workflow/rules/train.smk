def data_of(role):
    return lambda wildcards: f"{RESULTS}/data/{PLAN.jobs[role][wildcards.job].data}.json"


def runs_of(role):
    return lambda wildcards: PLAN.jobs[role][wildcards.job].param


rule teach:
    input:
        data=data_of("teacher"),
    output:
        f"{RESULTS}/runs/teachers/{{job}}.json",
    params:
        runs=runs_of("teacher"),
        store=lambda wildcards, output: STUDY.store,
        how=lambda wildcards, output: HOW,
    log:
        f"{RESULTS}/logs/teach/{{job}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/teach/{{job}}.jsonl"
    conda:
        "../../environment.yml"
    threads: STUDY.threads
    resources:
        gpu=0 if STUDY.device == "cpu" else 1,
    shell:
        "python -m soteacher teach --runs {params.runs:q} --data {input.data:q}"
        " --store {params.store:q} {params.how} --links {RESULTS}/teachers"
        " --log {log:q} --out {output:q}"


rule distill:
    input:
        data=data_of("student"),
        teachers=lambda wildcards: [
            manifest_of(job)
            for job in PLAN.jobs_of(
                run.teacher for run in PLAN.jobs["student"][wildcards.job].runs
            )
        ],
    output:
        f"{RESULTS}/runs/students/{{job}}.json",
    params:
        runs=runs_of("student"),
        store=lambda wildcards, output: STUDY.store,
        how=lambda wildcards, output: HOW,
    log:
        f"{RESULTS}/logs/distill/{{job}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/distill/{{job}}.jsonl"
    conda:
        "../../environment.yml"
    threads: STUDY.threads
    resources:
        gpu=0 if STUDY.device == "cpu" else 1,
    shell:
        "python -m soteacher distill --runs {params.runs:q} --data {input.data:q}"
        " --teachers {input.teachers:q} --store {params.store:q} {params.how}"
        " --links {RESULTS}/students --log {log:q} --out {output:q}"
