rule time_steps:
    input:
        lambda wildcards: data_timed(wildcards.timed),
    output:
        steps=f"{RESULTS}/overhead/{{timed}}.csv",
        methods=f"{RESULTS}/overhead/{{timed}}.methods.csv",
        hashes=f"{RESULTS}/overhead/{{timed}}.sha256",
    log:
        f"{RESULTS}/logs/time_steps/{{timed}}.log",
    conda:
        ENVIRONMENT
    threads: whole_machine
    resources:
        gpu=GPU,
        tries=tries_of,
    params:
        soteacher=soteacher_of,
        version=__version__,  # another version may be faster
        block=lambda wildcards: requested(TIMED[wildcards.timed]),
        store=store_of,
        how=HOW,  # a change reruns this rule: times depend on the device
        allowed=lambda wildcards, output: f"{ALLOWED} {SHARED}",
    shell:
        "{params.soteacher:q} time-steps --block {params.block:q} --data {input:q}"
        " --store {params.store:q} {params.how} {params.allowed} --attempt {resources.tries}"
        " --log {log:q} --out {output.steps:q}"
