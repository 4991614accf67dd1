rule curves:
    input:
        curves=asked(curves_of, "suite"),
        code=code("curves"),
    output:
        report(
            "results/{suite}/curves.png",
            caption="../workflow/report/curves.rst",
            category="Curves",
            labels={"suite": "{suite}"},
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
        "python -m stages.curves --curves {input.curves} --out {output}"
        " --settings {params.settings:q} --label {wildcards.suite} --log {log}"
