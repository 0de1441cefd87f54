rule measure:
    input:
        data=fast(lambda wildcards: data_of(measured(wildcards))),
        manifests=fast(lambda wildcards: [manifest_of(job) for job in measured(wildcards).jobs]),
    output:
        runs=f"{RESULTS}/measures/{{role}}s/{{measured}}.csv",
        epochs=f"{RESULTS}/measures/{{role}}s/{{measured}}.epochs.csv",
        reliability=f"{RESULTS}/measures/{{role}}s/{{measured}}.reliability.csv",
        disagreement=f"{RESULTS}/measures/{{role}}s/{{measured}}.disagreement.csv",
        hashes=f"{RESULTS}/measures/{{role}}s/{{measured}}.sha256",
    log:
        f"{RESULTS}/logs/measure/{{role}}s/{{measured}}.log",
    retries: 0  # a retry would end in the same way
    localrule: True
    conda:
        ENVIRONMENT
    params:
        soteacher=soteacher_of,
        version=__version__,  # another version may write another format
        format=MEASURES_FORMAT,
        runs=fast(
            lambda wildcards: [
                requested(JOBS[job.role][job.name]) for job in measured(wildcards).jobs
            ]
        ),
        store=store_of,
    shell:
        "{params.soteacher:q} measure --runs {params.runs:q} --manifests {input.manifests:q}"
        " --data {input.data:q} --store {params.store:q} --epochs {output.epochs:q}"
        " --reliability {output.reliability:q} --disagreement {output.disagreement:q} --log {log:q} --out {output.runs:q}"


rule table:
    input:
        measures=lambda wildcards: measures_of(wildcards.table),
        steps=lambda wildcards: steps_of(wildcards.table),
        hashes=lambda wildcards: hashes_of(wildcards.table),
    output:
        csv=f"{RESULTS}/tables/{{table}}.csv",
        markdown=report(
            f"{RESULTS}/tables/{{table}}.md",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        latex=f"{RESULTS}/tables/{{table}}.tex",
        hashes=f"{RESULTS}/tables/{{table}}.sha256",
    log:
        f"{RESULTS}/logs/tables/{{table}}.log",
    retries: 0  # a retry would end in the same way
    localrule: True
    conda:
        ENVIRONMENT
    params:
        soteacher=soteacher_of,
        version=__version__,  # another version may write another format
        block=lambda wildcards: requested(BLOCKS[wildcards.table]),
        measures=lambda wildcards: requested(measures_list(wildcards.table)),
        caption=lambda wildcards: caption(PLAN, wildcards.table),
    shell:
        "{params.soteacher:q} table --block {params.block:q}"
        " --measures {params.measures:q} --steps {input.steps:q}"
        " --markdown {output.markdown:q} --latex {output.latex:q}"
        " --log {log:q} --out {output.csv:q}"


rule figure:
    input:
        runs=lambda wildcards: measures_of(wildcards.figure),
        more=lambda wildcards: measures_of(
            wildcards.figure, ".epochs", ".reliability", ".disagreement"
        ),
        hashes=lambda wildcards: hashes_of(wildcards.figure),
    output:
        png=report(
            f"{RESULTS}/figures/{{figure}}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        pdf=f"{RESULTS}/figures/{{figure}}.pdf",
        svg=f"{RESULTS}/figures/{{figure}}.svg",
        csv=f"{RESULTS}/figures/{{figure}}.csv",
        hashes=f"{RESULTS}/figures/{{figure}}.sha256",
    log:
        f"{RESULTS}/logs/figures/{{figure}}.log",
    retries: 0  # a retry would end in the same way
    localrule: True
    conda:
        ENVIRONMENT
    params:
        soteacher=soteacher_of,
        version=__version__,  # another version may write another format
        block=lambda wildcards: requested(BLOCKS[wildcards.figure]),
        measures=lambda wildcards: requested(measures_list(wildcards.figure)),
        caption=lambda wildcards: caption(PLAN, wildcards.figure),
    shell:
        "{params.soteacher:q} figure --block {params.block:q} --measures {params.measures:q}"
        " --pdf {output.pdf:q} --svg {output.svg:q} --csv {output.csv:q}"
        " --log {log:q} --out {output.png:q}"


rule runs:
    input:
        measures=all_measures(),
        hashes=all_measures(".sha256"),
    output:
        csv=f"{RESULTS}/runs.csv",
        hashes=f"{RESULTS}/runs.sha256",
    log:
        f"{RESULTS}/logs/runs.log",
    retries: 0  # a retry would end in the same way
    localrule: True
    conda:
        ENVIRONMENT
    params:
        soteacher=soteacher_of,
        version=__version__,  # another version may write another format
        runs=lambda wildcards: requested(RUNS),
        measures=lambda wildcards: requested(all_measures_list()),
    shell:
        "{params.soteacher:q} runs --runs {params.runs:q} --measures {params.measures:q}"
        " --log {log:q} --out {output.csv:q}"


rule claims:
    input:
        runs=f"{RESULTS}/runs.csv",
        steps=all_steps(".csv"),
        more=[f"{RESULTS}/runs.sha256", *all_steps(".methods.csv", ".sha256")],
    output:
        csv=f"{RESULTS}/claims.csv",
        comparisons=f"{RESULTS}/comparisons.csv",
        hashes=f"{RESULTS}/claims.sha256",
    log:
        f"{RESULTS}/logs/claims.log",
    retries: 0  # a retry would end in the same way
    localrule: True
    conda:
        ENVIRONMENT
    params:
        soteacher=soteacher_of,
        version=__version__,  # another version may write another format
        record=lambda wildcards: requested(CLAIMS),
    shell:
        "{params.soteacher:q} claims --record {params.record:q} --runs {input.runs:q}"
        " --steps {input.steps:q} --comparisons {output.comparisons:q}"
        " --log {log:q} --out {output.csv:q}"


rule page:
    input:
        tables=[f"{RESULTS}/tables/{table}.csv" for table in STUDY.tables],
        figures=[f"{RESULTS}/figures/{figure}.png" for figure in STUDY.figures],
        drawings=[f"{RESULTS}/figures/{figure}.svg" for figure in STUDY.figures],
        numbers=[f"{RESULTS}/figures/{figure}.csv" for figure in STUDY.figures],
        claims=f"{RESULTS}/claims.csv",
        comparisons=f"{RESULTS}/comparisons.csv",
        hashes=[f"{RESULTS}/tables/{table}.sha256" for table in STUDY.tables]
        + [f"{RESULTS}/figures/{figure}.sha256" for figure in STUDY.figures]
        + [f"{RESULTS}/claims.sha256"],
    output:
        report(f"{RESULTS}/report.html", caption="../report/page.rst", category="Page"),
    log:
        f"{RESULTS}/logs/page.log",
    retries: 0  # a retry would end in the same way
    localrule: True
    conda:
        ENVIRONMENT
    params:
        soteacher=soteacher_of,
        version=__version__,  # another version may write another format
        summary=lambda wildcards: requested(PAGE),
    shell:
        "{params.soteacher:q} page --summary {params.summary:q} --tables {input.tables:q}"
        " --figures {input.figures:q} --claims {input.claims:q}"
        " --comparisons {input.comparisons:q} --log {log:q} --out {output:q}"


# `snakemake table1` or `figure1` makes this block, and trains only what it needs
for name in STUDY.blocks:

    rule:
        name:
            name
        input:
            lambda wildcards, name=name: target_of(name),
        localrule: True
