rule teach:
    input:
        data=fast(lambda wildcards: data_of(job_of("teacher", wildcards.job))),
    output:
        f"{RESULTS}/runs/teachers/{{job}}.json",
    log:
        f"{RESULTS}/logs/teach/{{job}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/teach/{{job}}.jsonl"
    conda:
        ENVIRONMENT
    threads: STUDY.threads
    resources:
        gpu=GPU,
        tries=tries_of,
    params:
        soteacher=soteacher_of,
        runs=fast(lambda wildcards: requested(JOBS["teacher"][wildcards.job])),
        links=f"{RESULTS}/teachers",
        store=store_of,
        how=fast(lambda wildcards, output: how("teacher", wildcards.job)),
    shell:
        "{params.soteacher:q} teach --runs {params.runs:q} --data {input.data:q}"
        " --store {params.store:q} {params.how} --attempt {resources.tries} --links {params.links:q}"
        " --log {log:q} --out {output:q}"


rule distill:
    input:
        data=fast(lambda wildcards: data_of(job_of("student", wildcards.job))),
        teachers=teachers_of,
    output:
        f"{RESULTS}/runs/students/{{job}}.json",
    log:
        f"{RESULTS}/logs/distill/{{job}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/distill/{{job}}.jsonl"
    conda:
        ENVIRONMENT
    threads: STUDY.threads
    resources:
        gpu=GPU,
        tries=tries_of,
    params:
        soteacher=soteacher_of,
        runs=fast(lambda wildcards: requested(JOBS["student"][wildcards.job])),
        links=f"{RESULTS}/students",
        store=store_of,
        how=fast(lambda wildcards, output: how("student", wildcards.job)),
    shell:
        "{params.soteacher:q} distill --runs {params.runs:q} --data {input.data:q}"
        " --teachers {input.teachers:q} --store {params.store:q} {params.how}"
        " --attempt {resources.tries} --links {params.links:q} --log {log:q} --out {output:q}"
