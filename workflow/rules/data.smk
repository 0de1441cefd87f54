rule prepare:
    output:
        f"{RESULTS}/data/{{data}}.json",
    log:
        f"{RESULTS}/logs/prepare/{{data}}.log",
    retries: 0  # a retry would end in the same way
    localrule: True
    conda:
        ENVIRONMENT
    params:
        soteacher=soteacher_of,
        spec=lambda wildcards: PLAN.data_spec(wildcards.data).canonical,
        location=lambda wildcards: canonical_json(PLAN.data_location(wildcards.data)),
        store=store_of,
    shell:
        "{params.soteacher:q} prepare --spec {params.spec:q} --location {params.location:q}"
        " --store {params.store:q} --log {log:q} --out {output:q}"
