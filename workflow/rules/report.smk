rule measure:
    input:
        data=lambda wildcards: data_of(PLAN.jobs[wildcards.role][wildcards.job]),
        manifest=f"{RESULTS}/runs/{{role}}s/{{job}}.json",
    output:
        f"{RESULTS}/measures/{{role}}s/{{job}}.csv",
    log:
        f"{RESULTS}/logs/measure/{{role}}s/{{job}}.log",
    conda:
        "../../environment.yml"
    params:
        planned=lambda wildcards: canonical(planned(PLAN.jobs[wildcards.role][wildcards.job].runs)),
        store=lambda wildcards, output: STUDY.store,
    shell:
        "python -m soteacher measure --planned {params.planned:q} --manifest {input.manifest:q}"
        " --data {input.data:q} --store {params.store:q} --log {log:q} --out {output:q}"


rule table:
    input:
        measures_for,
    output:
        csv=f"{RESULTS}/tables/{{table}}.csv",
        markdown=f"{RESULTS}/tables/{{table}}.md",
    log:
        f"{RESULTS}/logs/tables/{{table}}.log",
    conda:
        "../../environment.yml"
    params:
        block=lambda wildcards: TABLES[wildcards.table],
    shell:
        "python -m soteacher table --block {params.block:q} --measures {input:q}"
        " --markdown {output.markdown:q} --log {log:q} --out {output.csv:q}"


rule page:
    input:
        [f"{RESULTS}/tables/{table}.csv" for table in PLAN.tables],
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/page.log",
    conda:
        "../../environment.yml"
    params:
        summary=page_param(PLAN),
    shell:
        "python -m soteacher page --summary {params.summary:q} --tables {input:q}"
        " --log {log:q} --out {output:q}"


# `snakemake table1`: that table, and nothing trained that it does not ask for
for name in PLAN.tables:

    rule:
        name:
            name
        input:
            f"{RESULTS}/tables/{name}.md",
        localrule: True
