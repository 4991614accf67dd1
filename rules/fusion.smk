rule fusion:
    input:
        scores=asked(likeness_files),
        code=code("fusion"),
    output:
        csv=report(
            "results/anchors.csv",
            caption="../workflow/report/fusion.rst",
            category="Tables",
            labels={"table": "anchors", "form": "CSV"},
        ),
        markdown="results/anchors.md",
        tex="results/anchors.tex",
        plot=report(
            "results/anchors.png",
            caption="../workflow/report/fusion.rst",
            category="Tables",
            labels={"table": "anchors", "form": "picture"},
        ),
    log:
        "results/logs/fusion.log",
    benchmark:
        "results/benchmarks/fusion.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="5m",
    params:
        settings=asked(fusion_json),
    shell:
        "python -m stages.fusion --scores {input.scores} --out {output.csv} --markdown {output.markdown}"
        " --tex {output.tex} --plot {output.plot} --settings {params.settings:q} --log {log}"
