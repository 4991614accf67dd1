rule table1:
    input:
        metrics=metrics_of(EXPERIMENT.suite),
        networks=networks_of(EXPERIMENT.suite),
        reported=shipped("config/reported/table1.csv"),
        papers=shipped("config/reported/papers.csv"),
        code=code("tables"),
    output:
        csv=report(
            "results/table1.csv",
            caption="../workflow/report/tables.rst",
            category="Tables",
            labels={"table": "1", "form": "CSV"},
        ),
        markdown="results/table1.md",
        tex="results/table1.tex",
    log:
        "results/logs/table1.log",
    benchmark:
        "results/benchmarks/table1.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=500,
        runtime="5m",
    params:
        settings=EXPERIMENT.run_json(),
    shell:
        "python -m stages.tables --metrics {input.metrics} --reported {input.reported} --papers {input.papers}"
        " --networks {input.networks} --out {output.csv} --markdown {output.markdown} --tex {output.tex} --settings {params.settings:q} --log {log}"


use rule table1 as suite_table1 with:
    input:
        metrics=asked(metrics_of, "suite"),
        networks=asked(networks_of, "suite"),
        reported=shipped("config/reported/table1.csv"),
        papers=shipped("config/reported/papers.csv"),
        code=code("tables"),
    output:
        csv="results/{suite}/table1.csv",
        markdown="results/{suite}/table1.md",
        tex="results/{suite}/table1.tex",
    log:
        "results/{suite}/logs/table1.log",
    benchmark:
        "results/{suite}/benchmarks/table1.jsonl"
