rule growth:
    input:
        metrics=compared_metrics(*GROWTH),
        beside=compared_files(*GROWTH),
        code=code("growth"),
    output:
        csv=report(
            "results/growth.csv",
            caption="../workflow/report/growth.rst",
            category="Tables",
            labels={"table": "growth", "form": "CSV"},
        ),
        markdown="results/growth.md",
        plot=report(
            "results/growth.png",
            caption="../workflow/report/growth.rst",
            category="Tables",
            labels={"table": "growth", "form": "picture"},
        ),
    log:
        "results/logs/growth.log",
    benchmark:
        "results/benchmarks/growth.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="5m",
    params:
        settings=growth_json(),
    shell:
        "python -m stages.growth --metrics {input.metrics} --out {output.csv} --markdown {output.markdown}"
        " --plot {output.plot} --settings {params.settings:q} --log {log}"
