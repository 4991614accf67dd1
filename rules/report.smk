rule report:
    input:
        files=report_files(),
        workflow=shipped("Snakefile"),
        code=code("report"),
    output:
        "results/report.html",
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=EXPERIMENT.report_json(),
    shell:
        "python -m stages.report --files {input.files} --workflow {input.workflow} --out {output}"
        " --settings {params.settings:q} --log {log}"
