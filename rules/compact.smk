rule compact:
    input:
        sequence="results/{suite}/{scene}/{variant}/seed{seed}/sequence.safetensors",
        code=code("compact"),
    output:
        "results/{suite}/{scene}/{variant}/seed{seed}/sequence.4dgs",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/compact.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/compact.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=EXPERIMENT.run_json(),
    shell:
        "python -m stages.compact --sequence {input.sequence} --out {output}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
