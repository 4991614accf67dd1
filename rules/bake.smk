rule bake:
    input:
        dynamic="results/{suite}/{scene}/{variant}/seed{seed}/dynamic.safetensors",
        code=code("bake"),
    output:
        "results/{suite}/{scene}/{variant}/seed{seed}/sequence.safetensors",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/bake.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/bake.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1500,
        runtime="15m",
    params:
        settings=asked(EXPERIMENT.bake_json, "variant", "seed"),
    shell:
        "python -m stages.bake --dynamic {input.dynamic} --out {output}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
