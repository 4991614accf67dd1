rule webtables:
    input:
        markdown="results/{table}.md",
        code=code("webtables"),
    output:
        report(
            "results/{table}.html",
            caption="../workflow/report/webtables.rst",
            category="Tables",
            labels={"table": "{table}", "form": "page"},
        ),
    log:
        "results/logs/{table}_page.log",
    benchmark:
        "results/benchmarks/{table}_page.jsonl"
    wildcard_constraints:
        table="|".join(("table1", *PLOTTED_TABLES, *PLAIN_TABLES)),
    conda:
        "../environment.yml"
    resources:
        mem_mb=500,
        runtime="5m",
    params:
        settings=EXPERIMENT.run_json(),
    shell:
        "python -m stages.webtables --markdown {input.markdown} --out {output}"
        " --settings {params.settings:q} --label {wildcards.table} --log {log}"
