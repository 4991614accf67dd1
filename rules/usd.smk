rule usd:
    input:
        sequence="results/{suite}/{scene}/{variant}/seed{seed}/sequence.safetensors",
        code=code("usd"),
    output:
        "results/{suite}/{scene}/{variant}/seed{seed}/exports/sequence.usdc",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/usd.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/usd.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=asked(EXPERIMENT.exports_json, "variant", "seed"),
    shell:
        "python -m stages.usd --sequence {input.sequence} --out {output}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
