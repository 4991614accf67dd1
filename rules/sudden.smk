rule sudden:
    input:
        metrics=compared_metrics("table2"),
        beside=compared_files("table2"),
        code=code("sudden"),
    output:
        csv=report(
            "results/sudden.csv",
            caption="../workflow/report/sudden.rst",
            category="Tables",
            labels={"table": "sudden changes", "form": "CSV"},
        ),
        markdown="results/sudden.md",
    log:
        "results/logs/sudden.log",
    benchmark:
        "results/benchmarks/sudden.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="5m",
    params:
        settings=comparison_json("table2"),
    shell:
        "python -m stages.sudden --metrics {input.metrics} --out {output.csv} --markdown {output.markdown}"
        " --settings {params.settings:q} --log {log}"
