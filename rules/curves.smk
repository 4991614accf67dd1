rule curves:
    input:
        curves=asked(curves_of, "suite"),
        counts=asked(counts_of, "suite"),
        code=code("curves"),
    output:
        curves=report(
            "results/{suite}/curves.png",
            caption="../workflow/report/curves.rst",
            category="Curves",
            labels={"suite": "{suite}", "what": "loss and gaussians by step"},
        ),
        counts=report(
            "results/{suite}/counts.png",
            caption="../workflow/report/counts.rst",
            category="Curves",
            labels={"suite": "{suite}", "what": "gaussians by frame"},
        ),
    log:
        "results/{suite}/logs/curves.log",
    benchmark:
        "results/{suite}/benchmarks/curves.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=500,
        runtime="10m",
    params:
        settings=EXPERIMENT.run_json(),
    shell:
        "python -m stages.curves --curves {input.curves} --counts {input.counts}"
        " --out {output.curves} --counts-out {output.counts}"
        " --settings {params.settings:q} --label {wildcards.suite} --log {log}"
