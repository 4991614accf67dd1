rule spz:
    input:
        sequence="results/{suite}/{scene}/{variant}/seed{seed}/sequence.safetensors",
        code=code("spz"),
    output:
        directory("results/{suite}/{scene}/{variant}/seed{seed}/exports/spz"),
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/spz.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/spz.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=500,
        runtime="10m",
    params:
        settings=EXPERIMENT.run_json(),
    shell:
        "python -m stages.spz --sequence {input.sequence} --out {output}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
