rule claims:
    input:
        metrics=compared_metrics(*CLAIMED),
        beside=compared_files(*CLAIMED),
        networks=compared_networks(*CLAIMED),
        claims=shipped("config/reported/claims.csv"),
        code=code("claims"),
    output:
        csv=report(
            "results/claims.csv",
            caption="../workflow/report/claims.rst",
            category="Tables",
            labels={"table": "claims", "form": "CSV"},
        ),
        markdown="results/claims.md",
        tex="results/claims.tex",
    log:
        "results/logs/claims.log",
    benchmark:
        "results/benchmarks/claims.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="5m",
    params:
        settings=claims_json(),
    shell:
        "python -m stages.claims --metrics {input.metrics} --networks {input.networks} --claims {input.claims}"
        " --out {output.csv} --markdown {output.markdown} --tex {output.tex} --settings {params.settings:q} --log {log}"
