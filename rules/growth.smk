rule growth:
    input:
        metrics=compared_metrics(*GROWTH),
        beside=compared_files(*GROWTH),
        networks=compared_networks(*GROWTH),
        code=code("growth"),
    output:
        csv=report(
            "results/growth.csv",
            caption="../workflow/report/growth.rst",
            category="Tables",
            labels={"table": "growth", "form": "CSV"},
        ),
        markdown="results/growth.md",
        tex="results/growth.tex",
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
        "python -m stages.growth --metrics {input.metrics} --networks {input.networks} --out {output.csv}"
        " --markdown {output.markdown} --tex {output.tex} --plot {output.plot} --settings {params.settings:q} --log {log}"
