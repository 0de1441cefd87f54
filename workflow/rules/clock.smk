rule clock:
    input:
        lambda wildcards: data_clocked(wildcards.clocked),
    output:
        steps=f"{RESULTS}/overhead/{{clocked}}.csv",
        methods=f"{RESULTS}/overhead/{{clocked}}.methods.csv",
    log:
        f"{RESULTS}/logs/clock/{{clocked}}.log",
    conda:
        "../../environment.yml"
    threads: STUDY.threads
    resources:
        gpu=GPU,
    params:
        soteacher=package,
        version=__version__,  # another may be faster
        block=lambda wildcards: CLOCKED[wildcards.clocked],
        store=lambda wildcards, output: STUDY.store,
        how=HOW,  # here a change is a reason: times are of the device
        allowed=lambda wildcards, output: f"{ALLOWED} {SHARED}",
    shell:
        "python {params.soteacher:q} clock --block {params.block:q} --data {input:q}"
        " --store {params.store:q} {params.how} {params.allowed} --log {log:q} --out {output.steps:q}"
