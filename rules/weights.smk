rule weights:
    input:
        manifest=shipped("config/weights.yaml"),
        code=code("weights"),
    output:
        "resources/weights/{network}/receipt.json",
    log:
        "results/weights/{network}/logs/weights.log",
    benchmark:
        "results/weights/{network}/benchmarks/weights.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=500,
        runtime="4h",
    params:
        settings=asked(EXPERIMENT.weights_json, "network"),
    shell:
        "python -m stages.weights --out {output}"
        " --settings {params.settings:q} --label {wildcards.network} --log {log}"
